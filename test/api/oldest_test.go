package api_test

import (
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// oldest is the oldest version of Kubernetes that we support.
var oldest = version.MajorMinor(1, 30)

// Every rule uses only what the oldest API server knows.
func TestRulesCompileForOldestServer(t *testing.T) {
	env := environment.MustBaseEnvSet(oldest)
	compiled := 0
	for _, definition := range definitions(t) {
		for _, v := range definition.Spec.Versions {
			root := structural(t, v.Schema.OpenAPIV3Schema)
			compiled += compile(t, root, true, env)
		}
	}
	if compiled < 40 {
		t.Errorf("only %d rules compiled", compiled)
	}
}

func structural(t *testing.T, in *apiextensionsv1.JSONSchemaProps) *schema.Structural {
	t.Helper()
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(in, &internal, nil); err != nil {
		t.Fatal(err)
	}
	s, err := schema.NewStructural(&internal)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// compile compiles the rules of a schema and of all within it, and counts them.
func compile(t *testing.T, s *schema.Structural, root bool, env *environment.EnvSet) int {
	t.Helper()
	n := len(s.XValidations)
	if n > 0 {
		results, err := cel.Compile(s, model.SchemaDeclType(s, root), celconfig.PerCallLimit, env, cel.NewExpressionsEnvLoader())
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Error != nil {
				t.Errorf("%s: %v", s.XValidations[i].Rule, r.Error)
			}
		}
	}
	for _, property := range s.Properties {
		n += compile(t, &property, false, env)
	}
	if s.Items != nil {
		n += compile(t, s.Items, false, env)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		n += compile(t, s.AdditionalProperties.Structural, false, env)
	}
	return n
}
