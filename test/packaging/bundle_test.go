package packaging

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/controllers/manifest"
)

// csv is what the Operator Lifecycle Manager reads of a ClusterServiceVersion; a field that it does not know is an error.
type csv struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ObjectMeta `json:"metadata"`
	Spec            struct {
		DisplayName    string              `json:"displayName"`
		Description    string              `json:"description"`
		Version        string              `json:"version"`
		Maturity       string              `json:"maturity"`
		MinKubeVersion string              `json:"minKubeVersion"`
		Keywords       []string            `json:"keywords"`
		Links          []map[string]string `json:"links"`
		Provider       map[string]string   `json:"provider"`
		RelatedImages  []map[string]string `json:"relatedImages"`
		Icon           []struct {
			MediaType  string `json:"mediatype"`
			Base64Data string `json:"base64data"`
		} `json:"icon"`
		InstallModes []struct {
			Type      string `json:"type"`
			Supported bool   `json:"supported"`
		} `json:"installModes"`
		Install struct {
			Strategy string `json:"strategy"`
			Spec     struct {
				ClusterPermissions []permissions `json:"clusterPermissions"`
				Permissions        []permissions `json:"permissions"`
				Deployments        []struct {
					Name  string                `json:"name"`
					Label map[string]string     `json:"label"`
					Spec  appsv1.DeploymentSpec `json:"spec"`
				} `json:"deployments"`
			} `json:"spec"`
		} `json:"install"`
		CustomResourceDefinitions struct {
			Owned []struct {
				Name              string              `json:"name"`
				Kind              string              `json:"kind"`
				Version           string              `json:"version"`
				DisplayName       string              `json:"displayName"`
				Description       string              `json:"description"`
				Resources         []map[string]string `json:"resources"`
				SpecDescriptors   []descriptor        `json:"specDescriptors"`
				StatusDescriptors []descriptor        `json:"statusDescriptors"`
			} `json:"owned"`
		} `json:"customresourcedefinitions"`
	} `json:"spec"`
}

type permissions struct {
	ServiceAccountName string              `json:"serviceAccountName"`
	Rules              []rbacv1.PolicyRule `json:"rules"`
}

type descriptor struct {
	Path         string   `json:"path"`
	DisplayName  string   `json:"displayName"`
	Description  string   `json:"description"`
	XDescriptors []string `json:"x-descriptors"`
}

func bundle(t *testing.T, dir string) csv {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "manifests/postrider.clusterserviceversion.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var c csv
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestBundleIsConfig: by the bundle the operator gets the Deployment and the rights that it gets by kustomize.
func TestBundleIsConfig(t *testing.T) {
	c, installed := bundle(t, filepath.Join(root, "bundle")), kustomize(t, "config/default", "")
	var deployment appsv1.Deployment
	convert(t, installed["Deployment postrider-system/postrider-manager"], &deployment)
	install := c.Spec.Install.Spec
	if len(install.Deployments) != 1 || install.Deployments[0].Name != "postrider-manager" {
		t.Fatalf("%d deployments", len(install.Deployments))
	}
	if diff := cmp.Diff(deployment.Spec, install.Deployments[0].Spec); diff != "" {
		t.Errorf("the Deployment, config/ (-) and bundle (+):\n%s", diff)
	}
	granted := func(kind string) (rules []rbacv1.PolicyRule) {
		for name, object := range installed {
			if !strings.HasPrefix(name, kind+"Binding ") {
				continue
			}
			var binding rbacv1.RoleBinding
			var role rbacv1.Role
			convert(t, object, &binding)
			convert(t, installed[kind+" "+binding.Namespace+"/"+binding.RoleRef.Name], &role)
			rules = append(rules, role.Rules...)
		}
		return rules
	}
	for kind, have := range map[string][]permissions{"ClusterRole": install.ClusterPermissions, "Role": install.Permissions} {
		if len(have) != 1 || have[0].ServiceAccountName != deployment.Spec.Template.Spec.ServiceAccountName {
			t.Errorf("%s: %d sets of permissions", kind, len(have))
			continue
		}
		if diff := cmp.Diff(ordered(granted(kind)), ordered(have[0].Rules)); diff != "" {
			t.Errorf("rights by %s, config/ (-) and bundle (+):\n%s", kind, diff)
		}
	}
	for key, object := range installed {
		kind, name, _ := strings.Cut(key, " ")
		if kind == "CustomResourceDefinition" || strings.HasPrefix(name, "/postrider-edit") || strings.HasPrefix(name, "/postrider-view") {
			if diff := cmp.Diff(object, manifests(t)[key]); diff != "" {
				t.Errorf("%s, config/ (-) and bundle (+):\n%s", key, diff)
			}
		}
	}
}

// TestBundleIsWhole: what catalogues ask for is there.
func TestBundleIsWhole(t *testing.T) {
	c := bundle(t, filepath.Join(root, "bundle"))
	if c.APIVersion != "operators.coreos.com/v1alpha1" || c.Kind != "ClusterServiceVersion" || c.Metadata.Name != "postrider.v"+c.Spec.Version {
		t.Errorf("it is %s %s %s", c.APIVersion, c.Kind, c.Metadata.Name)
	}
	for _, name := range []string{"alm-examples", "capabilities", "categories", "containerImage", "description", "repository", "support"} {
		if c.Metadata.Annotations[name] == "" {
			t.Errorf("there is no annotation %s", name)
		}
	}
	levels := []string{"Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot"}
	if !slices.Contains(levels, c.Metadata.Annotations["capabilities"]) {
		t.Errorf("there is no capability level %q", c.Metadata.Annotations["capabilities"])
	}
	if len(c.Spec.Icon) != 1 {
		t.Fatalf("%d icons", len(c.Spec.Icon))
	}
	icon, err := base64.StdEncoding.DecodeString(c.Spec.Icon[0].Base64Data)
	if err != nil || xml.Unmarshal(icon, new(struct{})) != nil || c.Spec.Icon[0].MediaType != "image/svg+xml" {
		t.Errorf("the icon is no SVG: %v", err)
	}
	if len(c.Spec.InstallModes) != 4 {
		t.Errorf("%d install modes; all four are to be named", len(c.Spec.InstallModes))
	}
	if len(c.Spec.CustomResourceDefinitions.Owned) != 3 {
		t.Errorf("it owns %d kinds", len(c.Spec.CustomResourceDefinitions.Owned))
	}
	for _, kind := range c.Spec.CustomResourceDefinitions.Owned {
		if len(kind.SpecDescriptors) == 0 || len(kind.StatusDescriptors) == 0 || kind.Description == "" {
			t.Errorf("%s is hardly described", kind.Kind)
		}
		for _, d := range append(kind.SpecDescriptors, kind.StatusDescriptors...) {
			if d.DisplayName == "" || d.Description == "" {
				t.Errorf("%s: %s has no name or description", kind.Kind, d.Path)
			}
		}
	}
	kinds, err := manifest.NewKinds()
	if err != nil {
		t.Fatal(err)
	}
	var examples []json.RawMessage
	if err := json.Unmarshal([]byte(c.Metadata.Annotations["alm-examples"]), &examples); err != nil {
		t.Fatal(err)
	}
	for _, example := range examples {
		if _, err := kinds.Load(manifest.Source{Paths: []string{"-"}, Stdin: strings.NewReader(string(example))}); err != nil {
			t.Errorf("an example: %v", err)
		}
	}
	if len(examples) < 6 {
		t.Errorf("only %d examples", len(examples))
	}
}

// TestBundleOfARelease: the image is named by its digest wherever it is named.
func TestBundleOfARelease(t *testing.T) {
	const image = "registry.example.com/mail/postrider@" + digest
	dir := filepath.Join(t.TempDir(), "bundle")
	installed := output(t, program(t, "bin/kube/kubectl"), "kustomize", filepath.Join(root, "config/default"))
	file := filepath.Join(t.TempDir(), "installed.yaml")
	if err := os.WriteFile(file, []byte(installed), 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "bash", "-c", `cd ../.. && go run ./hack/bundle -version 1.2.3 -image "$1" -out "$2" <"$3"`, "bundle", image, dir, file)
	c := bundle(t, dir)
	container := c.Spec.Install.Spec.Deployments[0].Spec.Template.Spec.Containers[0]
	relay := slices.IndexFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == "RELAY_IMAGE" })
	if c.Metadata.Annotations["containerImage"] != image || container.Image != image || relay < 0 || container.Env[relay].Value != image ||
		!slices.ContainsFunc(c.Spec.RelatedImages, func(i map[string]string) bool { return i["image"] == image && i["name"] != "" }) {
		t.Errorf("an image is not the one by digest: %+v", container)
	}
	data, err := os.ReadFile(filepath.Join(dir, "manifests/postrider.clusterserviceversion.yaml"))
	if err != nil || strings.Contains(string(data), "postrider/postrider:dev") {
		t.Errorf("the image of development is named somewhere (%v)", err)
	}
	if c.Metadata.Name != "postrider.v1.2.3" {
		t.Errorf("it is called %s", c.Metadata.Name)
	}
}

// TestBundleLabels: the image of the bundle says what metadata/annotations.yaml says.
func TestBundleLabels(t *testing.T) {
	var metadata struct{ Annotations map[string]string }
	convertYAML(t, "bundle/metadata/annotations.yaml", &metadata)
	dockerfile, err := os.ReadFile(filepath.Join(root, "bundle/bundle.Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	if len(metadata.Annotations) != 6 {
		t.Errorf("%d annotations", len(metadata.Annotations))
	}
	for name, value := range metadata.Annotations {
		if !strings.Contains(string(dockerfile), "LABEL "+name+"="+value+"\n") {
			t.Errorf("bundle.Dockerfile has no label %s=%s", name, value)
		}
	}
}

// manifests are the objects of the bundle.
func manifests(t *testing.T) objects {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "bundle/manifests/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString("---\n" + string(data) + "\n")
	}
	return parse(t, all.String())
}

// ordered are rules in an order that does not depend on that of roles.
func ordered(rules []rbacv1.PolicyRule) []string {
	var texts []string
	for _, rule := range rules {
		texts = append(texts, rule.String())
	}
	slices.Sort(texts)
	return texts
}

func convert(t *testing.T, from map[string]any, to any) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(from, to); err != nil {
		t.Fatal(err)
	}
}

func convertYAML(t *testing.T, path string, to any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, to); err != nil {
		t.Fatal(err)
	}
}
