package dnscheck

import (
	"errors"
	"fmt"
	"strings"
)

// tag is one name=value of a tag list.
type tag struct{ name, value string }

// tags is a tag list (RFC 6376 §3.2), as DKIM keys and DMARC policies are written.
type tags []tag

// parseTags reads a tag list. Names are compared as they stand; a name that stands twice makes the whole list
// invalid.
func parseTags(s string) (tags, error) {
	var list tags
	for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(s), ";"), ";") {
		name, value, ok := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is not name=value", strings.TrimSpace(part))
		}
		if _, twice := list.get(name); twice {
			return nil, fmt.Errorf("%s= stands there twice", name)
		}
		list = append(list, tag{name, value})
	}
	if len(list) == 0 {
		return nil, errors.New("it is empty")
	}
	return list, nil
}

func (l tags) get(name string) (string, bool) {
	for _, t := range l {
		if t.name == name {
			return t.value, true
		}
	}
	return "", false
}

// or returns the value of a tag, or what holds without it.
func (l tags) or(name, missing string) string {
	if v, ok := l.get(name); ok {
		return v
	}
	return missing
}

// lists says whether a colon-separated list names a value.
func lists(list, value string) bool {
	for v := range strings.SplitSeq(list, ":") {
		if strings.EqualFold(strings.TrimSpace(v), value) {
			return true
		}
	}
	return false
}
