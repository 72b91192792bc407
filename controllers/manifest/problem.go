package manifest

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Problem is one thing that is wrong.
type Problem struct {
	// File as it was named; "-" for standard input.
	File string
	// Document in that file, from 1; 0 when the file could not be read at all.
	Document int
	// Object is "Kind namespace/name"; empty when that could not be told.
	Object string
	// Field is the path of the field, "spec.listeners[0].port"; empty when it is not about one.
	Field string
	// Message says what is wrong with it, in the words of the API server: the rule's own where there is one.
	Message string
}

func (p Problem) String() string {
	parts := []string{p.File}
	if p.Document > 0 {
		parts[0] = fmt.Sprintf("%s, document %d", p.File, p.Document)
	}
	for _, part := range []string{p.Object, p.Field, p.Message} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Invalid is everything that is wrong with the manifests.
type Invalid struct{ Problems []Problem }

// Error lists the problems, one a line.
func (e *Invalid) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	lines = append(lines, "the manifests are invalid:")
	for _, p := range e.Problems {
		lines = append(lines, "  "+p.String())
	}
	return strings.Join(lines, "\n")
}

// wholeObject is what field.Error has for a path in an error about the object as a whole.
const wholeObject = "<nil>"

// problem puts a field error where it was found.
func (d document) problem(object string, err *field.Error) Problem {
	return Problem{File: d.file, Document: d.number, Object: object, Field: strings.TrimPrefix(err.Field, wholeObject), Message: err.ErrorBody()}
}

// byField orders errors by their path, those about the whole object last. CEL rules come in no order.
func byField(a, b *field.Error) int {
	if (a.Field == wholeObject) != (b.Field == wholeObject) {
		return strings.Compare(b.Field, a.Field)
	}
	return strings.Compare(a.Field+a.Detail, b.Field+b.Detail)
}

// broken reports a document in which no field can be named.
func (d document) broken(object string, err error) Problem {
	return Problem{File: d.file, Document: d.number, Object: object, Message: strings.ReplaceAll(err.Error(), "\n ", "")}
}
