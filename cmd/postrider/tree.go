package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/status"
)

// branch is a line of a tree, and what hangs on it.
type branch struct {
	text     string
	branches []branch
}

// print draws a tree with the lines that terminals and screen readers know from tree(1).
func (b branch) print(w io.Writer, indent string) error {
	for i, next := range b.branches {
		mark, more := "├─ ", "│  "
		if i == len(b.branches)-1 {
			mark, more = "└─ ", "   "
		}
		if _, err := fmt.Fprintln(w, indent+mark+printable(next.text)); err != nil {
			return err
		}
		if err := next.print(w, indent+more); err != nil {
			return err
		}
	}
	return nil
}

// printTree says where mail is and why it waits: relay, pods, and the destinations of each that have waited longest.
func printTree(s streams, o output, r relayReport, now time.Time) error {
	for _, b := range forest(r, o.wide(), now) {
		if _, err := fmt.Fprintf(s.out, "\n%s\n", printable(b.text)); err != nil {
			return err
		}
		if err := b.print(s.out, ""); err != nil {
			return err
		}
	}
	return nil
}

// forest are the trees: in a cluster that of the relay, without one those of all that run here.
func forest(r relayReport, wide bool, now time.Time) []branch {
	relay := firstRelay(r.Objects)
	if relay == nil || len(relay.Status.Pods) == 0 {
		var trees []branch
		for i := range r.Relays {
			trees = append(trees, podBranch(r.Relays[i].Pod, "", &r.Relays[i], wide, now))
		}
		return trees
	}
	tree := branch{text: fmt.Sprintf("MailRelay %s/%s", relay.Namespace, relay.Name)}
	for _, p := range relay.Status.Pods {
		var said *status.Status
		if i := slices.IndexFunc(r.Relays, func(s status.Status) bool { return s.Pod == p.Name }); i >= 0 {
			said = &r.Relays[i]
		}
		tree.branches = append(tree.branches, podBranch(p.Name, state(relay, p), said, wide, now))
	}
	return []branch{tree}
}

func firstRelay(objects []runtime.Object) *v1alpha1.MailRelay {
	for _, o := range objects {
		if relay, ok := o.(*v1alpha1.MailRelay); ok {
			return relay
		}
	}
	return nil
}

// state is what the operator says of a pod, and what an admin has done to it.
func state(relay *v1alpha1.MailRelay, p v1alpha1.PodStatus) string {
	for prefix, did := range map[string]string{v1alpha1.DrainAnnotation: "drain", v1alpha1.CordonAnnotation: "cordon"} {
		if why, ok := relay.Annotations[prefix+p.Name]; ok {
			return fmt.Sprintf("%s (%s by %s)", p.State, did, why)
		}
	}
	return string(p.State)
}

// podBranch is a pod with its destinations.
func podBranch(name, state string, s *status.Status, wide bool, now time.Time) branch {
	b := branch{text: name}
	if state != "" {
		b.text += ": " + state
	}
	if s == nil {
		b.text += "; it did not answer"
		return b
	}
	b.text += fmt.Sprintf("; %s; configuration %d, version %s", queueText(s.Queue, now), s.Generation, s.Version)
	if s.ConfigError != "" {
		b.branches = append(b.branches, branch{text: "a newer configuration is refused: " + s.ConfigError})
	}
	for _, l := range s.Listeners {
		if l.Error != "" {
			b.branches = append(b.branches, branch{text: "listener " + l.Name + ": " + l.Error})
		}
	}
	for _, d := range s.Slowest {
		b.branches = append(b.branches, destinationBranch(d, wide, now))
	}
	return b
}

func destinationBranch(d status.Destination, wide bool, now time.Time) branch {
	b := branch{text: fmt.Sprintf("%s: %s; %s for %s", d.Domain, queueText(d.Queue, now), d.Reason, ago(d.Since, now))}
	if d.Reply != "" {
		most := 100
		if wide {
			most = 1000
		}
		b.text += ": " + elide(d.Reply, most)
	}
	return b
}

// queueText is a queue in words, without what is zero.
func queueText(q status.Queue, now time.Time) string {
	if q.Queued == 0 {
		return "nothing queued"
	}
	parts := []string{fmt.Sprintf("%d queued", q.Queued)}
	if q.Deferred > 0 {
		parts = append(parts, fmt.Sprintf("%d deferred", q.Deferred))
	}
	if q.Held > 0 {
		parts = append(parts, fmt.Sprintf("%d held", q.Held))
	}
	if q.Oldest != nil {
		parts = append(parts, "oldest "+ago(*q.Oldest, now))
	}
	return strings.Join(parts, ", ")
}
