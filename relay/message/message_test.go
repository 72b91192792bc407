package message

import (
	"errors"
	"strings"
	"testing"
)

func TestFields(t *testing.T) {
	header := "From: a@example.com\r\nSubject : one\r\n two\r\n\tthree \r\nX-Empty:\r\n\r\n"
	fields, err := Fields([]byte(header))
	if err != nil {
		t.Fatal(err)
	}
	want := [][3]string{
		{"From", "a@example.com", "From: a@example.com\r\n"},
		{"Subject", "one two\tthree", "Subject : one\r\n two\r\n\tthree \r\n"},
		{"X-Empty", "", "X-Empty:\r\n"},
	}
	if len(fields) != len(want) {
		t.Fatalf("%d fields, want %d", len(fields), len(want))
	}
	for i, f := range fields {
		if f.Name != want[i][0] || f.Value() != want[i][1] || string(f.Raw) != want[i][2] {
			t.Errorf("field %d: %q = %q (%q), want %q", i, f.Name, f.Value(), f.Raw, want[i])
		}
	}
	if n := Count(fields, "FROM"); n != 1 {
		t.Errorf("FROM is there %d times, want once", n)
	}
}

func TestMalformed(t *testing.T) {
	for _, header := range []string{
		"no colon\r\n\r\n", " a continuation of nothing\r\nFrom: x\r\n\r\n", ": no name\r\n\r\n",
		"Fr om: x\r\n\r\n", "Fröm: x\r\n\r\n", "Subject: x\r\nFrom\r\n\r\n", "no end",
	} {
		if fields, err := Fields([]byte(header)); !errors.Is(err, ErrMalformed) {
			t.Errorf("Fields(%q) = %v, %v, want ErrMalformed", header, fields, err)
		}
	}
}

func TestFieldsWithoutBlankLine(t *testing.T) {
	for header, want := range map[string]int{"": 0, "\r\n": 0, "A: b\r\n": 1, "A: b": 1} {
		if fields, err := Fields([]byte(header)); err != nil || len(fields) != want {
			t.Errorf("Fields(%q): %d fields, %v, want %d", header, len(fields), err, want)
		}
	}
}

// FuzzFields: the fields are the block, each octet in its place, and none hides another.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{"From: a\r\nTo : b\r\n c\r\n\r\n", "junk\r\n\r\n", " x\r\n", "A:\r\n", "a:b", "\r\n", "A: b\r\n\r\nbody", "\xff: x\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, block string) {
		fields, err := Fields([]byte(block))
		if err != nil {
			return
		}
		whole := ""
		for _, field := range fields {
			whole += string(field.Raw)
			if !strings.HasPrefix(string(field.Raw), field.Name) || strings.ContainsAny(field.Name, ": \t\r\n") || strings.Contains(field.Value(), "\r\n") {
				t.Errorf("%q: field %q with value %q", block, field.Name, field.Value())
			}
			for _, line := range strings.Split(strings.TrimSuffix(string(field.Raw), "\n"), "\n")[1:] {
				if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
					t.Errorf("%q: field %q holds a line that is not folded", block, field.Raw)
				}
			}
		}
		if rest := strings.TrimPrefix(block, whole); whole+rest != block || rest != "" && !strings.HasPrefix(rest, "\r\n") {
			t.Errorf("%q was split into %q", block, whole)
		}
	})
}
