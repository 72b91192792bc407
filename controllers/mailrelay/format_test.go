package mailrelay

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/status"
)

func TestFormatFor(t *testing.T) {
	const newest, oldest = config.Format, config.Oldest
	for name, c := range map[string]struct {
		images  map[string]speech
		inForce int
		want    int
	}{
		"a new relay":                               {map[string]speech{"own": {own: true}}, 0, newest},
		"a new relay of another version":            {map[string]speech{"other": {}}, 0, oldest},
		"all have answered":                         {map[string]speech{"own": {format: newest, own: true, ready: true}}, oldest, newest},
		"one is older":                              {map[string]speech{"own": {format: newest, own: true, ready: true}, "old": {format: oldest, ready: true}}, newest, oldest},
		"one is newer than the operator":            {map[string]speech{"new": {format: newest + 1, ready: true}}, newest, newest},
		"one is older than any that we render":      {map[string]speech{"old": {format: max(1, oldest-1), ready: true}}, newest, oldest},
		"an older one that serves has not answered": {map[string]speech{"own": {own: true}, "old": {ready: true}}, oldest, oldest},
		"another one that serves has not answered":  {map[string]speech{"other": {ready: true}}, newest, newest},
		"another one that does not serve":           {map[string]speech{"own": {format: newest, own: true}, "other": {}}, newest, oldest},
		"the index is lost":                         {map[string]speech{"other": {ready: true}}, 0, oldest},
	} {
		t.Run(name, func(t *testing.T) {
			if got := formatFor(c.images, c.inForce); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// What pods have said holds for the others of their image, too, and as long as there are any.
func TestListen(t *testing.T) {
	of := func(ordinal int32, image string) pod {
		p := member(ordinal, "r")
		p.UID = types.UID(p.Name)
		p.Spec.Containers = []corev1.Container{{Name: "proxy", Image: "proxy"}, {Name: "relay", Image: image}}
		return p
	}
	p := &pass{memory: &memory{}, statuses: map[string]*status.Status{
		"out-0": {ConfigFormat: 3}, "out-1": {ConfigFormat: 2}, "out-2": {},
	}}
	p.seen.pods = []pod{of(0, "a"), of(1, "a"), of(2, "b"), of(3, "b"), of(4, "c")}
	p.listen()
	for image, want := range map[string]int{"a": 2, "b": 1, "c": 0} {
		if got := p.memory.formats[image]; got != want {
			t.Errorf("pods of image %s read format %d, want %d", image, got, want)
		}
	}
	p.statuses = nil
	p.seen.pods = p.seen.pods[2:4]
	p.listen()
	if len(p.memory.formats) != 1 || p.memory.formats["b"] != 1 {
		t.Errorf("it remembers %v", p.memory.formats)
	}
}
