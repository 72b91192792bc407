package manifest

import (
	"context"
	"fmt"
	"io/fs"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/config/crd"
)

// Kinds are our kinds as their CustomResourceDefinitions define them, compiled.
type Kinds struct {
	byName map[schema.GroupVersionKind]*kind
}

// kind is one version of one CustomResourceDefinition.
type kind struct {
	gvk        schema.GroupVersionKind
	structural *structuralschema.Structural
	types      schemavalidation.SchemaValidator
	// rules are the CEL rules; nil when there are none.
	rules   *cel.Validator
	columns []apiextensionsv1.CustomResourceColumnDefinition
}

// NewKinds compiles the definitions of config/crd. The error is one of the build, not of the user.
func NewKinds() (*Kinds, error) {
	definitions, err := definitions(crd.Bases)
	if err != nil {
		return nil, err
	}
	k := &Kinds{byName: map[schema.GroupVersionKind]*kind{}}
	for _, d := range definitions {
		for i := range d.Spec.Versions {
			one, err := compile(d, &d.Spec.Versions[i])
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", d.Name, d.Spec.Versions[i].Name, err)
			}
			k.byName[one.gvk] = one
		}
	}
	return k, nil
}

// definitions reads every definition in files.
func definitions(files fs.FS) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	names, err := fs.Glob(files, "*/*.yaml")
	if err != nil {
		return nil, err
	}
	var found []*apiextensionsv1.CustomResourceDefinition
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		d := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(data, d); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		found = append(found, d)
	}
	return found, nil
}

// compile does what the API server does to serve a definition.
func compile(d *apiextensionsv1.CustomResourceDefinition, v *apiextensionsv1.CustomResourceDefinitionVersion) (*kind, error) {
	var internal apiextensions.CustomResourceValidation
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v.Schema, &internal, nil); err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	structural = structural.DeepCopy()
	if err := defaulting.PruneDefaults(structural); err != nil {
		return nil, err
	}
	types, _, err := schemavalidation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	return &kind{
		gvk:        schema.GroupVersionKind{Group: d.Spec.Group, Version: v.Name, Kind: d.Spec.Names.Kind},
		structural: structural,
		types:      types,
		rules:      cel.NewValidator(structural, true, celconfig.PerCallLimit),
		columns:    v.AdditionalPrinterColumns,
	}, nil
}

// admit is what the API server does with an object it is asked to create, with --validate=strict: it changes u
// into what would be stored, and returns the paths of the fields that do not exist and all else that is wrong.
func (k *kind) admit(u *unstructured.Unstructured) (unknown []string, errs field.ErrorList) {
	meta, unknown, err := k.decode(u)
	if err != nil {
		return nil, field.ErrorList{field.Invalid(field.NewPath("metadata"), field.OmitValueType{}, err.Error())}
	}
	defaulting.Default(u.Object, k.structural)
	delete(u.Object, "status") // a new object has none
	u.SetGeneration(1)
	errs = k.validate(u, meta)
	defaulting.Default(u.Object, k.structural) // as when it is read back: the status has defaults of its own
	return unknown, errs
}

// decode prunes what the schema does not know and returns the paths of it, and brings the metadata into shape.
func (k *kind) decode(u *unstructured.Unstructured) (meta *metav1.ObjectMeta, unknown []string, err error) {
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(u.Object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, nil, err
	}
	if !found {
		meta = &metav1.ObjectMeta{}
	}
	options := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	unknown = append(unknown, pruning.PruneWithOptions(u.Object, k.structural, true, options)...)
	defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, k.structural)
	fault, paths := objectmeta.CoerceWithOptions(nil, u.Object, k.structural, false, objectmeta.CoerceOptions{ReturnUnknownFieldPaths: true})
	if fault != nil {
		return nil, nil, fault
	}
	u.SetGroupVersionKind(k.gvk)
	return meta, append(unknown, paths...), objectmeta.SetObjectMeta(u.Object, meta)
}

// validate runs metadata checks, schema, list keys and CEL rules, in the API server's order.
func (k *kind) validate(u *unstructured.Unstructured, meta *metav1.ObjectMeta) field.ErrorList {
	ctx := context.Background()
	errs := validation.ValidateObjectMetaDeclaratively(ctx, operation.Create, meta, nil, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"), true)
	errs = append(errs, schemavalidation.ValidateCustomResource(nil, u.UnstructuredContent(), k.types)...)
	errs = append(errs, objectmeta.Validate(ctx, nil, u.Object, k.structural, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, u.Object)...)
	if k.rules == nil {
		return errs
	}
	if blocksRules(errs) {
		return append(errs, field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"))
	}
	broken, _ := k.rules.Validate(ctx, nil, k.structural, u.Object, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, broken...)
}

// blocksRules says whether an object is so far from its schema that CEL rules cannot be run on it.
func blocksRules(errs field.ErrorList) bool {
	for _, err := range errs {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}
