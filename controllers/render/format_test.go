package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
)

// formats is where the relay's own tests find what operators have rendered, and which fields each format has.
const formats = "../../relay/config/testdata"

// What is rendered in a format has no field that relays of that format don't know.
func TestFormats(t *testing.T) {
	for format := config.Oldest; format <= config.Format; format++ {
		t.Run(fmt.Sprint(format), func(t *testing.T) {
			in := fullInput(t)
			in.Format = format
			in.Handoff = &config.Handoff{From: "outbound-2", Peers: []config.Peer{{Pod: "outbound-0", Address: "10.0.0.1", Host: "outbound-0.outbound-pods.mail.svc", ServerName: "other.mail"}}}
			in.Cordoned = []string{"outbound-2"}
			f := mustRender(t, in)
			index := f.Next(config.Index{Generation: 6})
			if index.Format != format {
				t.Errorf("the index is of format %d", index.Format)
			}
			if left := slices.Contains(f.Omitted, "handoff.peers[].serverName"); left != (format < 2) {
				t.Errorf("of format 2 it leaves out %q", f.Omitted)
			}
			known, err := os.ReadFile(filepath.Join(formats, fmt.Sprintf("format-%d.fields", format)))
			if err != nil {
				t.Fatal(err)
			}
			for name, data := range f.All() {
				if document := documentOf(name); document != "" {
					for _, field := range fieldsIn(t, document, data) {
						if !slices.ContainsFunc(strings.Split(string(known), "\n"), func(k string) bool { return strings.HasPrefix(k, field+" ") }) {
							t.Errorf("%s has %s, which a relay of format %d does not know", name, field, format)
						}
					}
				}
			}
			keepFormat(t, f, index)
		})
	}
}

// keepFormat writes down, once, what is rendered in a format, for the relays that come after.
func keepFormat(t *testing.T, f *Files, index config.Index) {
	t.Helper()
	dir := filepath.Join(formats, fmt.Sprintf("format-%d", index.Format))
	if _, err := os.Stat(dir); err == nil {
		return
	}
	if !*update {
		t.Fatalf("there is no %s: go test -update makes it", dir)
	}
	files := f.All()
	var err error
	if files[config.IndexFile], err = EncodeIndex(index); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// documentOf is the type of what a file holds; empty for what has no fields of ours.
func documentOf(file string) string {
	switch {
	case file == config.RelayFile:
		return "Relay"
	case strings.HasPrefix(file, "domains-"):
		return "Domain"
	}
	return ""
}

// fieldsIn lists the fields that stand in a document.
func fieldsIn(t *testing.T, document string, data []byte) []string {
	t.Helper()
	var value any
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&value); err != nil {
		t.Fatal(err)
	}
	var fields []string
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch v := value.(type) {
		case []any:
			for _, member := range v {
				walk(path, member)
			}
		case map[string]any:
			for name, member := range v {
				fields = append(fields, path+"."+name)
				walk(path+"."+name, member)
			}
		}
	}
	walk(document, value)
	return fields
}

// What an older format cannot say is named.
func TestOmitted(t *testing.T) {
	type document struct {
		Old string `json:"old" format:"0"`
		New string `json:"new,omitempty" format:"99"`
	}
	f := &Files{Format: config.Format - 1}
	for range 2 {
		if got := told(f, document{"a", "b"}); got != (document{Old: "a"}) {
			t.Errorf("relays are told %+v", got)
		}
	}
	if !slices.Equal(f.Omitted, []string{"new"}) {
		t.Errorf("omitted: %q", f.Omitted)
	}
}
