package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/api/v1alpha1"
)

// clusterServiceVersion completes what people wrote of it.
func clusterServiceVersion(o options, p *parts) (*unstructured.Unstructured, error) {
	data, err := os.ReadFile(filepath.Join(o.root, "config/manifests/bases/postrider.clusterserviceversion.yaml"))
	if err != nil {
		return nil, err
	}
	csv := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(data, &csv.Object); err != nil {
		return nil, err
	}
	csv.SetName("postrider.v" + o.version)
	examples, err := examples(filepath.Join(o.root, "config/samples"))
	if err != nil {
		return nil, err
	}
	annotations := csv.GetAnnotations()
	annotations["alm-examples"], annotations["containerImage"] = examples, o.image
	csv.SetAnnotations(annotations)
	icon, err := os.ReadFile(filepath.Join(o.root, "config/manifests/icon.svg"))
	if err != nil {
		return nil, err
	}
	deployment, err := deploymentSpec(o.image, p.deployment)
	if err != nil {
		return nil, err
	}
	spec := csv.Object["spec"].(map[string]any)
	spec["version"] = o.version
	spec["icon"] = []any{map[string]any{"mediatype": "image/svg+xml", "base64data": base64.StdEncoding.EncodeToString(icon)}}
	spec["relatedImages"] = []any{map[string]any{"name": "postrider", "image": o.image}}
	spec["install"] = install(p, deployment)
	return csv, describe(spec, p.definitions)
}

func install(p *parts, deployment map[string]any) map[string]any {
	return map[string]any{"strategy": "deployment", "spec": map[string]any{
		"clusterPermissions": []any{map[string]any{"serviceAccountName": manager, "rules": p.clusterRules}},
		"permissions":        []any{map[string]any{"serviceAccountName": manager, "rules": p.rules}},
		"deployments":        []any{map[string]any{"name": manager, "label": toAny(p.deployment.GetLabels()), "spec": deployment}},
	}}
}

// deploymentSpec is the Deployment with the image put in, for the operator and for the relays that it makes.
func deploymentSpec(image string, deployment *unstructured.Unstructured) (map[string]any, error) {
	containers, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		return nil, fmt.Errorf("the Deployment has %d containers; want one (%w)", len(containers), err)
	}
	container := containers[0].(map[string]any)
	container["image"] = image
	found := false
	env, _ := container["env"].([]any)
	for _, v := range env {
		if variable := v.(map[string]any); variable["name"] == "RELAY_IMAGE" {
			variable["value"], found = image, true
		}
	}
	if !found {
		return nil, errors.New("the Deployment has no RELAY_IMAGE")
	}
	copied := deployment.DeepCopy()
	if err := unstructured.SetNestedSlice(copied.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		return nil, err
	}
	return copied.Object["spec"].(map[string]any), nil
}

// examples are the samples of our kinds, as the annotation alm-examples holds them.
func examples(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return "", err
	}
	var ours []any
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return "", err
		}
		objects, err := decode(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		for _, o := range objects {
			if o.GroupVersionKind().GroupVersion() == v1alpha1.GroupVersion {
				ours = append(ours, o.Object)
			}
		}
	}
	text, err := json.MarshalIndent(ours, "", "  ")
	return string(text), err
}

// describe gives each descriptor the description that the definition has of its field. One of a field that is not
// there is an error.
func describe(spec map[string]any, definitions []*unstructured.Unstructured) error {
	owned, _, err := unstructured.NestedSlice(spec, "customresourcedefinitions", "owned")
	if err != nil {
		return err
	}
	for _, v := range owned {
		kind := v.(map[string]any)
		for part, descriptors := range map[string]string{"spec": "specDescriptors", "status": "statusDescriptors"} {
			list, _ := kind[descriptors].([]any)
			for _, v := range list {
				descriptor := v.(map[string]any)
				path, _ := descriptor["path"].(string)
				text, ok := description(definitions, kind["name"], part+"."+path)
				if !ok {
					return fmt.Errorf("%s has no field %s.%s", kind["name"], part, path)
				}
				descriptor["description"] = text
			}
		}
	}
	return unstructured.SetNestedSlice(spec, owned, "customresourcedefinitions", "owned")
}

// description is the first paragraph of what the definition of that name says of a field.
func description(definitions []*unstructured.Unstructured, name any, path string) (string, bool) {
	for _, d := range definitions {
		if d.GetName() != name {
			continue
		}
		versions, _, _ := unstructured.NestedSlice(d.Object, "spec", "versions")
		schema, _, _ := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema")
		for _, field := range strings.Split(path, ".") {
			properties, _ := schema["properties"].(map[string]any)
			schema, _ = properties[field].(map[string]any)
		}
		text, _ := schema["description"].(string)
		first, _, _ := strings.Cut(text, "\n\n")
		return strings.Join(strings.Fields(first), " "), schema != nil
	}
	return "", false
}

func toAny(in map[string]string) map[string]any {
	out := map[string]any{}
	for key, value := range in {
		out[key] = value
	}
	return out
}
