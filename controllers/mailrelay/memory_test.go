package mailrelay

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestMemoryIsOfOneRelay(t *testing.T) {
	m := memories{of: map[client.ObjectKey]*memory{}}
	key := client.ObjectKey{Namespace: "mail", Name: "outbound"}
	m.get(key, "first").released = true
	if !m.get(key, "first").released {
		t.Error("forgotten")
	}
	if m.get(key, "second").released {
		t.Error("a relay made again under the same name is taken for the one that went")
	}
	m.drop(key)
	if len(m.of) != 0 {
		t.Error("kept")
	}
}
