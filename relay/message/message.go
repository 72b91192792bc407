// Package message owns the syntax of a message's header block (RFC 5322 §2.2): where one field ends and the next
// begins. It knows no field's meaning and changes nothing.
package message

import (
	"bytes"
	"errors"
	"strings"
)

// ErrMalformed says that a header block holds a line that is neither a field nor the continuation of one.
// Readers differ about what follows such a line, so nothing can be said about the fields of the block.
var ErrMalformed = errors.New("the header holds a line that is no field")

// Field is one field of a header block.
type Field struct {
	// Name as it was written; compare it with Is.
	Name string
	// Raw is the whole field: name, colon, value, folds and the CRLF at its end. It shares the block's memory.
	Raw []byte
}

// Is says whether the field has this name.
func (f Field) Is(name string) bool { return strings.EqualFold(f.Name, name) }

// Value is what stands behind the colon, unfolded (RFC 5322 §2.2.3), without white space around it.
func (f Field) Value() string {
	_, value, _ := bytes.Cut(f.Raw, []byte(":"))
	return strings.TrimSpace(string(bytes.ReplaceAll(value, []byte("\r\n"), nil)))
}

// Fields splits a header block, with or without the blank line at its end, in order.
func Fields(header []byte) ([]Field, error) {
	var fields []Field
	for len(header) > 0 && !bytes.HasPrefix(header, []byte("\r\n")) {
		end := fieldEnd(header)
		name, ok := fieldName(header[:end])
		if !ok {
			return nil, ErrMalformed
		}
		fields = append(fields, Field{Name: name, Raw: header[:end]})
		header = header[end:]
	}
	return fields, nil
}

// Count is how many of the fields have this name.
func Count(fields []Field, name string) int {
	n := 0
	for _, f := range fields {
		if f.Is(name) {
			n++
		}
	}
	return n
}

// fieldEnd is where the first field of the block ends: before the first line that does not begin with white space.
func fieldEnd(block []byte) int {
	end := 0
	for {
		newline := bytes.IndexByte(block[end:], '\n')
		if newline < 0 {
			return len(block)
		}
		end += newline + 1
		if end == len(block) || block[end] != ' ' && block[end] != '\t' {
			return end
		}
	}
}

// fieldName is the name of a field: printable ASCII but the colon (RFC 5322 §2.2), with the white space that the
// obsolete syntax allows before the colon (§4.5).
func fieldName(raw []byte) (string, bool) {
	name, _, ok := bytes.Cut(raw, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !ok || len(name) == 0 {
		return "", false
	}
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return "", false
		}
	}
	return string(name), true
}
