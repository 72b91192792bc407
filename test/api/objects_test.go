package api_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// The least of each kind that the server takes.
const (
	mailRelay = `
apiVersion: postrider.dev/v1alpha1
kind: MailRelay
metadata: {name: outbound, namespace: default}
spec:
  hostname: mx1.example.com
  postmaster: ops@example.com
  listeners: [{name: smtp, port: 25, mode: Relay}]
  queue: {storage: {size: 1Gi}}
`
	sendingDomain = `
apiVersion: postrider.dev/v1alpha1
kind: SendingDomain
metadata: {name: acme, namespace: default}
spec:
  domain: acme.example
  relayRef: {name: outbound}
`
	rateLimitPolicy = `
apiVersion: postrider.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: cap, namespace: default}
spec:
  targetRefs: [{kind: MailRelay, name: outbound}]
  stage: Delivery
  key: Site
  limits: {messages: 600, perSeconds: 60}
`
)

// edits are values, in YAML, by the dotted path where they go. An empty one removes what is there.
type edits map[string]string

// parse reads an object and edits it.
func parse(t *testing.T, text string, e edits) *unstructured.Unstructured {
	t.Helper()
	object := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	for _, path := range slices.Sorted(maps.Keys(e)) { // what is inside comes after
		var parsed any
		if err := yaml.Unmarshal([]byte(e[path]), &parsed); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		put(t, object, strings.Split(path, "."), parsed, e[path] == "")
	}
	return &unstructured.Unstructured{Object: object}
}

// put sets the value at a path, or removes it; maps on the way are made.
func put(t *testing.T, in any, path []string, value any, remove bool) {
	t.Helper()
	last := len(path) == 1
	switch node := in.(type) {
	case map[string]any:
		switch {
		case last && remove:
			delete(node, path[0])
		case last:
			node[path[0]] = value
		default:
			if node[path[0]] == nil {
				node[path[0]] = map[string]any{}
			}
			put(t, node[path[0]], path[1:], value, remove)
		}
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(node) {
			t.Fatalf("no element %s", path[0])
		}
		if last {
			node[i] = value
			return
		}
		put(t, node[i], path[1:], value, remove)
	default:
		t.Fatalf("nothing to go into at %v", path)
	}
}

// list is a YAML list of n values that make returns.
func list(n int, value func(i int) string) string {
	var values []string
	for i := range n {
		values = append(values, value(i))
	}
	return "[" + strings.Join(values, ", ") + "]"
}
