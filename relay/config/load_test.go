package config

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, dir string, index Index, files map[string]string) {
	t.Helper()
	data, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, IndexFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func indexOf(files map[string]string) Index {
	index := Index{Format: Format, Generation: 3, Files: map[string]string{}}
	for name, content := range files {
		index.Files[name] = Digest([]byte(content))
	}
	return index
}

func TestLoad(t *testing.T) {
	complete := func() map[string]string {
		return map[string]string{
			RelayFile:         `{"name":"outbound","hostname":"mx1.example.com","queue":{"retryInitialSeconds":300}}`,
			"domains-03.json": `[{"name":"example.com","sign":true}]`,
			"domains-11.json": `[{"name":"example.org","sign":false}]`,
			"dkim.pem":        "opaque",

			"accounts-00.json": `{"system:serviceaccount:shop:checkout":"u1"}`,
			"accounts-07.json": `{"system:serviceaccount:shop:billing":"u2"}`,
		}
	}
	for _, c := range []struct {
		name       string
		change     func(index *Index, files map[string]string)
		incomplete bool
		want       string
	}{
		{name: "complete", change: func(*Index, map[string]string) {}},
		{"a file is missing", func(_ *Index, f map[string]string) { delete(f, "domains-03.json") }, true, "domains-03.json"},
		{"a file is of another generation", func(_ *Index, f map[string]string) { f["dkim.pem"] = "newer" }, true, "dkim.pem"},
		{"a newer format", func(i *Index, _ map[string]string) { i.Format++ }, false, "this relay reads formats"},
		{"an older format than any", func(i *Index, _ map[string]string) { i.Format = Oldest - 1 }, false, "this relay reads formats"},
		{"a path", func(i *Index, _ map[string]string) { i.Files["../up"] = "" }, false, "plain file name"},
		{"an unknown field", func(i *Index, f map[string]string) {
			f[RelayFile] = `{"hostname":"a.example","color":"red"}`
			i.Files[RelayFile] = Digest([]byte(f[RelayFile]))
		}, false, "color"},
		{"no relay", func(i *Index, _ map[string]string) { delete(i.Files, RelayFile) }, false, "does not list relay.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, files := t.TempDir(), complete()
			index := indexOf(files)
			c.change(&index, files)
			write(t, dir, index, files)
			got, err := Load(dir)
			if c.want == "" {
				if err != nil || got.Generation != 3 || got.Relay.Name != "outbound" || len(got.Domains) != 2 || len(got.Accounts) != 2 {
					t.Fatalf("got %+v, %v", got, err)
				}
				if got.Path("dkim.pem") != filepath.Join(dir, "dkim.pem") {
					t.Errorf("path %s", got.Path("dkim.pem"))
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrIncomplete) != c.incomplete {
				t.Errorf("error %v; want %q, incomplete %v", err, c.want, c.incomplete)
			}
		})
	}
}

func TestLoadWithoutIndexIsIncomplete(t *testing.T) {
	if _, err := Load(t.TempDir()); !errors.Is(err, ErrIncomplete) {
		t.Errorf("error %v", err)
	}
}

func TestLoadHoldsKeysAgainstTheirDigests(t *testing.T) {
	for _, c := range []struct {
		name string
		key  string
		want error
	}{
		{"as it should be", "key", nil},
		{"of another generation", "older key", ErrIncomplete},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{
				RelayFile: `{"hostname":"mx1.example.com"}`,
				"domains-00.json": `[{"name":"example.com","sign":true,"keys":[
					{"selector":"s","algorithm":"RSA2048","file":"dkim-s.pem","digest":"` + Digest([]byte("key")) + `"}]}]`,
			}
			index := indexOf(files)
			files["dkim-s.pem"] = c.key
			dir := t.TempDir()
			write(t, dir, index, files)
			if _, err := Load(dir); !errors.Is(err, c.want) {
				t.Errorf("error %v; want %v", err, c.want)
			}
		})
	}
}
