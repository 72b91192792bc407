// Package docs holds the documentation against the tree: what it links to, what it tells to run and to apply, and
// which conditions it explains.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/controllers/manifest"
)

// root is the top of the tree.
const root = "../.."

// pages are the README with its neighbours and everything in docs/, by their path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", ".github/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			texts[name] = read(t, name)
		}
	}
	return texts
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// found are the first groups of all matches, each once.
func found(pattern, text string) []string {
	var groups []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		groups = append(groups, match[1])
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

func TestMakeTargetsExist(t *testing.T) {
	makefile := read(t, filepath.Join(root, "Makefile"))
	for name, text := range pages(t) {
		for _, target := range found("`make ([a-z0-9-]+)", text) {
			if !strings.Contains(makefile, "\n"+target+":") {
				t.Errorf("%s: there is no make %s", name, target)
			}
		}
	}
}

// TestTheFirstConfigurationIsValid holds what the README tells to apply against the definitions.
func TestTheFirstConfigurationIsValid(t *testing.T) {
	readme := read(t, filepath.Join(root, "README.md"))
	block := found("(?s)```yaml\n(.*?)```", readme)
	if len(block) != 1 {
		t.Fatalf("the README has %d manifests; this test is for one", len(block))
	}
	kinds, err := manifest.NewKinds()
	if err != nil {
		t.Fatal(err)
	}
	set, err := kinds.Load(manifest.Source{Paths: []string{"-"}, Stdin: strings.NewReader(block[0])})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Relays) != 1 || len(set.Domains) != 1 || len(set.Policies) != 1 {
		t.Errorf("%d relays, %d domains, %d policies; want one of each", len(set.Relays), len(set.Domains), len(set.Policies))
	}
}

// TestEveryReasonIsExplained: what a condition can say stands in the user guide.
func TestEveryReasonIsExplained(t *testing.T) {
	guide := read(t, filepath.Join(root, "docs", "user-guide.md"))
	values := read(t, filepath.Join(root, "api", "v1alpha1", "conditions.go"))
	sources, err := filepath.Glob(filepath.Join(root, "controllers", "condition", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, name := range sources {
		used = append(used, found(`v1alpha1\.((?:Reason|Condition)[A-Z]\w+)`, read(t, name))...)
	}
	if len(used) < 40 {
		t.Errorf("only %d uses found: the test would prove nothing", len(used))
	}
	for _, name := range used {
		value := found(name+`\s+= "(\w+)"`, values)
		if len(value) != 1 {
			t.Errorf("%s is no constant of the API", name)
			continue
		}
		if !regexp.MustCompile(`\| .*\b` + value[0] + `\b`).MatchString(guide) {
			t.Errorf("the user guide has no row that names %s", value[0])
		}
	}
}

// TestTheMapIsComplete: docs/how-it-works.md names every package of the program and of its tools. Those of tests are in
// development.md.
func TestTheMapIsComplete(t *testing.T) {
	pages := map[string]string{"relay": "how-it-works.md", "controllers": "how-it-works.md", "cmd": "how-it-works.md", "hack": "how-it-works.md", "test": "development.md"}
	for top, page := range pages {
		text := read(t, filepath.Join(root, "docs", page))
		sources := 0
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry os.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" {
				return err
			}
			sources++
			if name := filepath.Base(filepath.Dir(path)); !regexp.MustCompile("`([a-z]+/)*" + name + "`").MatchString(text) {
				t.Errorf("docs/%s does not name the package of %s", page, path)
			}
			return nil
		})
		if err != nil || sources == 0 {
			t.Errorf("%s: %d sources, %v", top, sources, err)
		}
	}
}
