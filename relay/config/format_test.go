package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write down the fields of formats that have not been released")

// released is the newest format that an operator or relay out there may have. The files of testdata that tell of it, and of
// those before it, never change any more.
const released = 1

type plant struct {
	Name   string          `json:"name"`
	Leaves []leaf          `json:"leaves,omitempty"`
	Root   *leaf           `json:"root,omitempty"`
	Twigs  map[string]leaf `json:"twigs,omitempty"`
	Pests  []string        `json:"pests,omitempty" format:"3"`
	Fence  string          `json:"fence,omitempty" format:"2,required"`
}

type leaf struct {
	Size  int             `json:"size"`
	Color string          `json:"color,omitempty" format:"2"`
	Raw   json.RawMessage `json:"raw,omitempty"`
}

func TestFor(t *testing.T) {
	full := func() plant {
		return plant{
			Name: "oak", Leaves: []leaf{{1, "green", nil}, {2, "red", []byte(`"x"`)}, {3, "", nil}}, Root: &leaf{Size: 4, Color: "brown"},
			Twigs: map[string]leaf{"a": {5, "grey", nil}}, Pests: []string{"moth"}, Fence: "high",
		}
	}
	for _, c := range []struct {
		name   string
		of     plant
		format int
		want   plant
		left   []string
	}{
		{"the newest says all", full(), 3, full(), nil},
		{"one before", full(), 2, func() plant { p := full(); p.Pests = nil; return p }(), []string{"pests"}},
		{"two before", full(), 1, plant{
			Name: "oak", Leaves: []leaf{{1, "", nil}, {2, "", []byte(`"x"`)}, {3, "", nil}}, Root: &leaf{Size: 4}, Twigs: map[string]leaf{"a": {Size: 5}}, Fence: "high",
		}, []string{"leaves[].color", "pests", "root.color", "twigs[].color"}},
		{"what is not set is not missed", plant{Name: "moss"}, 1, plant{Name: "moss"}, nil},
		{"an empty list stays one", plant{Leaves: []leaf{}}, 1, plant{Leaves: []leaf{}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := fmt.Sprintf("%+v", c.of)
			got, left := For(c.of, c.format)
			if diff := cmp.Diff(c.want, got); diff != "" || !slices.Equal(left, c.left) {
				t.Errorf("left out %q, want %q; -want +got\n%s", left, c.left, diff)
			}
			if after := fmt.Sprintf("%+v", c.of); after != before {
				t.Errorf("the original %s has become %s", before, after)
			}
		})
	}
}

// documents are all that is written down in files of their own.
func documents() []reflect.Type {
	return []reflect.Type{reflect.TypeFor[Index](), reflect.TypeFor[Relay](), reflect.TypeFor[Domain](), reflect.TypeFor[TokenKeys]()}
}

// fieldsOf lists what a relay of a format reads, a line for each field.
func fieldsOf(format int) []byte {
	var out bytes.Buffer
	for _, document := range documents() {
		listFields(&out, document, document.Name(), format)
	}
	return out.Bytes()
}

func listFields(out *bytes.Buffer, of reflect.Type, path string, format int) {
	if of = within(of); of.Kind() != reflect.Struct {
		return
	}
	for field := range of.Fields() {
		if since, _ := introduced(field); since <= format && jsonName(field) != "-" {
			name := path + "." + jsonName(field)
			fmt.Fprintln(out, name, kindOf(field.Type))
			listFields(out, field.Type, name, format)
		}
	}
}

// within is the type of the members of a list or map, or of what a pointer leads to.
func within(of reflect.Type) reflect.Type {
	if of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
		return of.Elem()
	}
	return of
}

// kindOf is what JSON makes of a type.
func kindOf(of reflect.Type) string {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of == reflect.TypeFor[json.RawMessage]() {
		return "any"
	}
	return of.Kind().String()
}

// What a released format says never changes: a field that comes later has a tag, one that goes stays in the struct.
func TestFormatsStay(t *testing.T) {
	for format := Oldest; format <= Format; format++ {
		file := filepath.Join("testdata", fmt.Sprintf("format-%d.fields", format))
		if *update && format > released {
			if err := os.WriteFile(file, fieldsOf(format), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(fieldsOf(format)), "\n")); diff != "" {
			t.Errorf("format %d is not what it was. A field that is new gets the tag `format:\"%d\"`, omitempty, and Format is %d then "+
				"(go test -update writes down formats after %d); see docs/upgrades.md. -want +got\n%s", format, released+1, released+1, released, diff)
		}
	}
}

// A field that can be left out is left out when it is empty, and its tag is of a format there is.
func TestFormatTags(t *testing.T) {
	var check func(of reflect.Type, path string)
	check = func(of reflect.Type, path string) {
		if of = within(of); of.Kind() != reflect.Struct {
			return
		}
		for field := range of.Fields() {
			name := path + "." + jsonName(field)
			since, _ := introduced(field)
			if tag, tagged := field.Tag.Lookup(formatTag); tagged && (since < 2 || since > Format || !strings.Contains(field.Tag.Get("json"), ",omit")) {
				t.Errorf("%s has the tag %q: it must name a format from 2 to %d, and the field must be omitted when it is empty", name, tag, Format)
			}
			check(field.Type, name)
		}
	}
	for _, document := range documents() {
		check(document, document.Name())
	}
}

// This relay reads what the operators of each format have rendered, and means the same by it.
func TestReadsEveryFormat(t *testing.T) {
	for format := Oldest; format <= Format; format++ {
		t.Run(fmt.Sprint(format), func(t *testing.T) {
			dir := filepath.Join("testdata", fmt.Sprintf("format-%d", format))
			c, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Domains) != 3 || len(c.Accounts) != 3 || len(c.Relay.Listeners) != 5 || len(c.Relay.Routes) != 8 {
				t.Errorf("it has %d domains, %d accounts, %d listeners, %d routes", len(c.Domains), len(c.Accounts), len(c.Relay.Listeners), len(c.Relay.Routes))
			}
			want, err := os.ReadFile(filepath.Join(dir, RelayFile))
			if err != nil {
				t.Fatal(err)
			}
			again, _ := For(c.Relay, format)
			got, err := json.MarshalIndent(again, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), strings.Split(string(got), "\n")); diff != "" {
				t.Errorf("written again it is another: -want +got\n%s", diff)
			}
		})
	}
}
