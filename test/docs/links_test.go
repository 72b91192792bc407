package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// TestLinksLeadSomewhere: every relative link finds its file, and every anchor its heading.
func TestLinksLeadSomewhere(t *testing.T) {
	texts := pages(t)
	links := 0
	for name, text := range texts {
		for _, link := range found(`\]\(([^)\s]+)\)`, prose(text)) {
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			links++
			path, anchor, _ := strings.Cut(link, "#")
			target := name
			if path != "" {
				target = filepath.Join(filepath.Dir(name), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", name, link, err)
			} else if anchor != "" && !slices.Contains(anchors(texts[target]), anchor) {
				t.Errorf("%s links to %s: there is no such heading", name, link)
			}
		}
	}
	if links < 100 {
		t.Errorf("only %d links found: the test would prove nothing", links)
	}
}

// TestEveryPageIsInTheIndex: who looks into docs/README.md finds all of it.
func TestEveryPageIsInTheIndex(t *testing.T) {
	index := filepath.Join(root, "docs", "README.md")
	listed := found(`\]\(([^)#\s]+)\)`, read(t, index))
	for name := range pages(t) {
		path, err := filepath.Rel(filepath.Dir(index), name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(path, "..") || path == "README.md" || filepath.Dir(path) == "runbooks" {
			continue
		}
		if !slices.Contains(listed, path) {
			t.Errorf("docs/README.md does not list %s", path)
		}
	}
}

func TestAnchors(t *testing.T) {
	page := "# A Title: with *marks* & `code`\n```sh\n# a comment\n```\n## What `x-y` is_not\n## Twice\n### Twice\n"
	want := []string{"a-title-with-marks--code", "what-x-y-is_not", "twice", "twice-1"}
	if got := anchors(page); !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
}

// fences are blocks of code.
var fences = regexp.MustCompile("(?ms)^\\s*```.*?^\\s*```$")

// prose is a page without its blocks of code.
func prose(text string) string { return fences.ReplaceAllString(text, "") }

// anchors are what the headings of a page are called in links, by the rule of GitHub.
func anchors(text string) []string {
	var names []string
	seen := map[string]int{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(prose(text), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, heading[1])
		if n := seen[name]; n > 0 {
			names = append(names, fmt.Sprintf("%s-%d", name, n))
		} else {
			names = append(names, name)
		}
		seen[name]++
	}
	return names
}
