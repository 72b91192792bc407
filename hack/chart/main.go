// Command chart writes the templates of the chart that hold no values but the namespace: rights, NetworkPolicy,
// definitions and monitoring, as kustomize makes them of config/. The Deployment, which has values, is a template of
// its own, written by people.
//
//	go run ./hack/chart -default FILE -namespaced FILE -watched FILE -out config/helm/templates
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// made begins every file.
const made = "{{- /* Made by make generate; do not edit. */ -}}\n"

// keep is what a definition says to Helm, so that an uninstallation leaves it.
const keep = `    {{- if .Values.crds.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run() error {
	whole := flag.String("default", "", "file with what kustomize makes of config/default")
	one := flag.String("namespaced", "", "file with what kustomize makes of config/namespaced")
	watched := flag.String("watched", "", "file with what kustomize makes of config/watched")
	out := flag.String("out", "", "directory of the templates")
	flag.Parse()
	if *whole == "" || *one == "" || *watched == "" || *out == "" {
		return errors.New("-default, -namespaced, -watched and -out are needed")
	}
	cluster, err := read(*whole)
	if err != nil {
		return err
	}
	namespaced, err := read(*one)
	if err != nil {
		return err
	}
	monitoring, err := added(*whole, *watched)
	if err != nil {
		return err
	}
	policies := either(join(namespaced.policies), join(cluster.policies))
	return errors.Join(
		write(*out, "rights.yaml", either(join(namespaced.rights), join(cluster.rights))),
		write(*out, "networkpolicy.yaml", when(".Values.networkPolicy.enabled", policies)),
		write(*out, "monitoring.yaml", when(".Values.monitoring.enabled", join(monitoring))),
		write(*out, "definitions.yaml", when(".Values.crds.install", join(cluster.definitions))))
}

// added are the objects that one file has and the other has not.
func added(without, with string) ([]string, error) {
	plain, err := documents(without)
	if err != nil {
		return nil, err
	}
	all, err := documents(with)
	if err != nil {
		return nil, err
	}
	var more []string
	for _, text := range all {
		if !slices.Contains(plain, text) {
			more = append(more, inRelease(text))
		}
	}
	return more, nil
}

// templates are the objects of an installation as texts, by where they go.
type templates struct{ rights, policies, definitions []string }

// documents are the texts of the objects in a file.
func documents(file string) ([]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	texts := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n---\n")
	for i := range texts {
		texts[i] += "\n"
	}
	return texts, nil
}

// read finds the place of every object in a file, and puts the release's namespace in the place of its own.
func read(file string) (templates, error) {
	texts, err := documents(file)
	if err != nil {
		return templates{}, err
	}
	var t templates
	for _, text := range texts {
		var o struct{ Kind string }
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			return templates{}, fmt.Errorf("%s: %w", file, err)
		}
		switch o.Kind {
		case "Namespace": // Helm makes it
		case "Deployment": // manager.yaml
		case "CustomResourceDefinition":
			t.definitions = append(t.definitions, definition(text))
		case "NetworkPolicy":
			t.policies = append(t.policies, inRelease(text))
		case "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding":
			t.rights = append(t.rights, inRelease(text))
		default:
			return templates{}, fmt.Errorf("%s: the chart has no place for a %s: give it one in hack/chart", file, o.Kind)
		}
	}
	return t, nil
}

// namespace matches where an object says a namespace.
var namespace = regexp.MustCompile(`(?m)^(\s+(?:- )?namespace): \S+$`)

func inRelease(text string) string {
	return namespace.ReplaceAllString(escape(text), "$1: {{ .Release.Namespace }}")
}

func definition(text string) string {
	const annotations = "  annotations:\n"
	return strings.Replace(escape(text), annotations, annotations+keep, 1)
}

// escape keeps Helm from reading a text as a template.
func escape(text string) string { return strings.ReplaceAll(text, "{{", `{{ "{{" }}`) }

func join(texts []string) string { return strings.Join(texts, "---\n") }

// when renders a text if a value says so.
func when(value, text string) string { return "{{- if " + value + " }}\n" + text + "{{- end }}\n" }

// either renders one text for a single namespace, and another for the whole cluster.
func either(namespaced, cluster string) string {
	return "{{- if .Values.namespaced }}\n" + namespaced + "{{- else }}\n" + cluster + "{{- end }}\n"
}

func write(dir, name, text string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(made+text), 0o644)
}
