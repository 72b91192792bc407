package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryAttackHasItsTest: what docs/attacks.md says is shown by a test that is there.
func TestEveryAttackHasItsTest(t *testing.T) {
	page := read(t, filepath.Join(root, "docs", "attacks.md"))
	named := found("`([a-z0-9/]+\\.(?:Test|Fuzz)\\w+)`", page)
	if len(named) < 60 {
		t.Errorf("only %d tests are named", len(named))
	}
	sources := map[string]string{}
	for _, name := range named {
		dir, test, _ := strings.Cut(name, ".")
		if _, known := sources[dir]; !known {
			sources[dir] = tests(t, dir)
		}
		if !strings.Contains(sources[dir], "\nfunc "+test+"(") {
			t.Errorf("there is no %s", name)
		}
	}
	for _, line := range strings.Split(page, "\n") {
		cells := strings.Split(line, " | ")
		if strings.HasPrefix(line, "| ") && len(cells) > 2 && !strings.HasPrefix(line, "| #") && !strings.HasPrefix(line, "| ---") &&
			!regexp.MustCompile("`[a-z0-9/]+\\.(Test|Fuzz)\\w+`").MatchString(cells[len(cells)-1]) {
			t.Errorf("no test stands behind %q", line)
		}
	}
}

// tests is the text of all tests of a package.
func tests(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		all.WriteString(read(t, file))
	}
	return all.String()
}
