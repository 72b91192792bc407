package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// manager is the name of the operator's Deployment and of its ServiceAccount.
const manager = "postrider-manager"

// parts are the objects of an installation, by what a bundle makes of them.
type parts struct {
	deployment *unstructured.Unstructured
	// clusterRules and rules are what the operator may do everywhere and in its own namespace.
	clusterRules, rules []any
	definitions         []*unstructured.Unstructured
	// others are objects that the bundle holds as they are.
	others []*unstructured.Unstructured
}

func decode(in io.Reader) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(in, 4096); ; {
		u := &unstructured.Unstructured{}
		if err := d.Decode(&u.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(u.Object) > 0 {
			objects = append(objects, u)
		}
	}
}

// sort finds the place of every object.
func sort(objects []*unstructured.Unstructured) (*parts, error) {
	var p parts
	roles := map[string]*unstructured.Unstructured{}
	var bindings []*unstructured.Unstructured
	for _, o := range objects {
		switch o.GetKind() {
		case "CustomResourceDefinition":
			p.definitions = append(p.definitions, o)
		case "Deployment":
			if p.deployment != nil {
				return nil, errors.New("there are two Deployments")
			}
			p.deployment = o
		case "ClusterRole", "Role":
			roles[o.GetKind()+" "+o.GetName()] = o
		case "ClusterRoleBinding", "RoleBinding":
			bindings = append(bindings, o)
		case "Namespace", "ServiceAccount": // the Lifecycle Manager makes them
		case "NetworkPolicy": // not every version of it takes one
		default:
			return nil, fmt.Errorf("a bundle has no place for %s %s: give it one in hack/bundle", o.GetKind(), o.GetName())
		}
	}
	if p.deployment == nil || len(p.definitions) == 0 {
		return nil, errors.New("there is no Deployment, or no definition")
	}
	if err := p.grant(roles, bindings); err != nil {
		return nil, err
	}
	return &p, nil
}

// grant turns what is bound to the operator into its rights, and keeps the roles that are for others.
func (p *parts) grant(roles map[string]*unstructured.Unstructured, bindings []*unstructured.Unstructured) error {
	bound := map[string]bool{}
	for _, b := range bindings {
		kind, _, _ := unstructured.NestedString(b.Object, "roleRef", "kind")
		name, _, _ := unstructured.NestedString(b.Object, "roleRef", "name")
		role, ok := roles[kind+" "+name]
		if !ok || !boundToManager(b) {
			return fmt.Errorf("%s %s: a bundle grants roles of its own to the operator alone", b.GetKind(), b.GetName())
		}
		rules, _, err := unstructured.NestedSlice(role.Object, "rules")
		if err != nil {
			return err
		}
		if b.GetKind() == "ClusterRoleBinding" {
			p.clusterRules = append(p.clusterRules, rules...)
		} else if b.GetNamespace() == p.deployment.GetNamespace() {
			p.rules = append(p.rules, rules...)
		} else {
			return fmt.Errorf("RoleBinding %s is in namespace %s", b.GetName(), b.GetNamespace())
		}
		bound[kind+" "+name] = true
	}
	for key, role := range roles {
		if !bound[key] {
			p.others = append(p.others, role)
		}
	}
	slices.SortFunc(p.others, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	return nil
}

func boundToManager(binding *unstructured.Unstructured) bool {
	subjects, _, _ := unstructured.NestedSlice(binding.Object, "subjects")
	if len(subjects) != 1 {
		return false
	}
	subject, _ := subjects[0].(map[string]any)
	return subject["kind"] == "ServiceAccount" && subject["name"] == manager
}

// fileName is the name by which bundles call an object's file.
func fileName(o *unstructured.Unstructured) string {
	gvk := o.GroupVersionKind()
	if gvk.Kind == "CustomResourceDefinition" {
		plural, group, _ := strings.Cut(o.GetName(), ".")
		return group + "_" + plural + ".yaml"
	}
	return strings.ToLower(fmt.Sprintf("%s_%s_%s_%s.yaml", o.GetName(), gvk.Group, gvk.Version, gvk.Kind))
}
