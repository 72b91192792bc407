package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/config"
)

// What the manifests say, and what can be had in its place.
const (
	installedNamespace = "postrider-system"
	installedImage     = "ghcr.io/postrider/postrider:dev"
	imageName          = "ghcr.io/postrider/postrider"
)

func newInstall(s streams) *cobra.Command {
	c := &cobra.Command{Use: "install", Short: "The manifests that install the operator", Args: arguments(cobra.NoArgs), RunE: help}
	var namespace, named string
	generate := &cobra.Command{
		Use:   "generate",
		Short: "Print the manifests that install the operator, of this program's version",
		Long: `Print the manifests that install the operator: definitions, namespace, rights and the operator. They are those of
config/default and dist/install.yaml, of this program's version. Nothing is applied, and no cluster is asked.`,
		Example: "  kubectl postrider install generate | kubectl apply --server-side -f -",
		Args:    arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if wrong := validation.IsDNS1123Label(namespace); len(wrong) > 0 {
				return usageError{fmt.Errorf("--namespace %q: %s", namespace, wrong[0])}
			}
			if strings.ContainsAny(named, " \t\r\n\"'") || named == "" {
				return usageError{fmt.Errorf("--image %q is no image", named)}
			}
			return printInstall(s.out, namespace, named)
		},
	}
	generate.Flags().StringVarP(&namespace, "namespace", "n", installedNamespace, "namespace of the operator")
	generate.Flags().StringVar(&named, "image", cmp.Or(image, imageName+":"+version), "image of operator and relays")
	c.AddCommand(generate)
	return c
}

// printInstall prints the manifests, in an order in which they can be applied.
func printInstall(w io.Writer, namespace, image string) error {
	documents, err := installed("default")
	if err != nil {
		return err
	}
	slices.SortStableFunc(documents, func(a, b document) int { return cmp.Compare(a.rank(), b.rank()) })
	change := strings.NewReplacer(installedNamespace, namespace, installedImage, image)
	for _, d := range documents {
		if _, err := fmt.Fprintf(w, "---\n%s\n", change.Replace(string(bytes.TrimSpace(d.text)))); err != nil {
			return err
		}
	}
	return nil
}

// document is one manifest.
type document struct {
	kind string
	text []byte
}

// rank orders manifests: what others are in or of comes first.
func (d document) rank() int {
	first := []string{"Namespace", "CustomResourceDefinition", "ServiceAccount"}
	if i := slices.Index(first, d.kind); i >= 0 {
		return i
	}
	return len(first)
}

// installed are the manifests that a kustomization names, as kustomize would find them.
func installed(dir string) ([]document, error) {
	text, err := config.Installed.ReadFile(path.Join(dir, "kustomization.yaml"))
	if err != nil {
		return nil, err
	}
	var names struct{ Resources []string }
	if err := yaml.Unmarshal(text, &names); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	var all []document
	var failed error
	for _, name := range names.Resources {
		var found []document
		if at := path.Join(dir, name); path.Ext(at) == "" {
			found, err = installed(at)
		} else {
			found, err = documentsOf(at)
		}
		all, failed = append(all, found...), errors.Join(failed, err)
	}
	return all, failed
}

func documentsOf(file string) ([]document, error) {
	text, err := config.Installed.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []document
	for _, part := range bytes.Split(append([]byte("\n"), text...), []byte("\n---\n")) {
		var meta struct{ Kind string }
		if err := yaml.Unmarshal(part, &meta); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if meta.Kind != "" {
			all = append(all, document{meta.Kind, part})
		}
	}
	return all, nil
}
