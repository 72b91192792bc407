package manifest

import (
	"context"
	"fmt"
	"io"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
)

// Print writes objects of our kinds as `kubectl get` prints them: a table for each kind, by the columns of its
// definition, in the order in which the kinds first come up. Objects of other kinds are an error.
func (k *Kinds) Print(w io.Writer, objects []runtime.Object, wide bool) error {
	groups, err := k.group(objects)
	if err != nil {
		return err
	}
	for i, g := range groups {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		options := printers.PrintOptions{Wide: wide, WithKind: len(groups) > 1, Kind: g.kind.gvk.GroupKind()}
		if err := g.print(w, options); err != nil {
			return err
		}
	}
	return nil
}

// group is the objects of one kind.
type group struct {
	kind *kind
	rows []unstructured.Unstructured
}

func (k *Kinds) group(objects []runtime.Object) ([]group, error) {
	var groups []group
	for _, o := range objects {
		gvk := o.GetObjectKind().GroupVersionKind()
		one, ok := k.byName[gvk]
		if !ok {
			return nil, fmt.Errorf("%s is not one of %s", gvk, k.names())
		}
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(groups, func(g group) bool { return g.kind == one })
		if i < 0 {
			groups, i = append(groups, group{kind: one}), len(groups)
		}
		groups[i].rows = append(groups[i].rows, unstructured.Unstructured{Object: fields})
	}
	return groups, nil
}

func (g group) print(w io.Writer, options printers.PrintOptions) error {
	columns := g.kind.columns
	if len(columns) == 0 {
		columns = []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"}}
	}
	convertor, err := tableconvertor.New(columns)
	if err != nil {
		return err
	}
	table, err := convertor.ConvertToTable(context.Background(), &unstructured.UnstructuredList{Items: g.rows}, nil)
	if err != nil {
		return err
	}
	return printers.NewTablePrinter(options).PrintObj(table, w)
}
