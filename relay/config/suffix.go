package config

import (
	"iter"
	"strings"
)

// DomainsOf yields a name and all domains that it is in, the nearest first: a.b.c, b.c, c.
func DomainsOf(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for more := true; more && yield(name); {
			_, name, more = strings.Cut(name, ".")
		}
	}
}

// EndsIn says whether a host is one of the names that the keys are, or ends in a dot and one of them: what MXSuffixes mean.
func EndsIn[V any](host string, names map[string]V) bool {
	for domain := range DomainsOf(host) {
		if _, is := names[domain]; is {
			return true
		}
	}
	return false
}
