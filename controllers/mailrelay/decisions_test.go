package mailrelay

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/relay/status"
)

var start = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)

func TestReplicas(t *testing.T) {
	tests := []struct {
		name          string
		want, current int32
		drained       []int32
		expected      int32
	}{
		{"as asked", 2, 2, nil, 2},
		{"more", 3, 2, nil, 3},
		{"none is drained", 1, 4, nil, 4},
		{"the last is drained", 1, 4, []int32{3}, 3},
		{"a lower one is drained first", 1, 4, []int32{1, 2}, 4},
		{"all are drained", 1, 4, []int32{1, 2, 3}, 1},
		{"all go", 0, 2, []int32{0, 1}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			drained := func(ordinal int32) bool {
				for _, d := range test.drained {
					if d == ordinal {
						return true
					}
				}
				return false
			}
			if got := replicas(test.want, test.current, drained); got != test.expected {
				t.Errorf("got %d, want %d", got, test.expected)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	answer := func(generation, queued int64) *status.Status {
		return &status.Status{Generation: generation, Queue: status.Queue{Queued: queued}}
	}
	type look struct {
		s     *status.Status
		after time.Duration
	}
	told := func(phase status.HandoffPhase) *status.Status {
		s := answer(7, 0)
		s.Handoff = &status.Handoff{Phase: phase}
		return s
	}
	damaged, receiving := answer(7, 0), answer(7, 0)
	damaged.Queue.Damaged, receiving.Receiving = 1, 1
	tests := map[string]struct {
		looks     []look
		done      bool
		handsOver bool
	}{
		"handed over":              {[]look{{told(status.HandoffDone), 0}, {told(status.HandoffDone), time.Second}}, true, true},
		"its peers don't know all": {[]look{{told(status.HandoffRunning), 0}, {told(status.HandoffRunning), time.Second}}, false, true},
		"it has not begun":         {[]look{{answer(7, 0), 0}, {answer(7, 0), time.Second}}, false, true},
		"damaged mail":             {[]look{{damaged, 0}, {damaged, time.Second}}, false, false},
		"mail on its way in":       {[]look{{receiving, 0}, {answer(7, 0), time.Second}}, false, false},
		"empty twice":              {[]look{{answer(7, 0), 0}, {answer(7, 0), time.Second}}, true, false},
		"empty once":               {[]look{{answer(7, 0), 0}}, false, false},
		"too close":                {[]look{{answer(7, 0), 0}, {answer(7, 0), time.Millisecond}}, false, false},
		"not cordoned yet":         {[]look{{answer(6, 0), 0}, {answer(6, 0), time.Second}}, false, false},
		"cordoned in between":      {[]look{{answer(6, 0), 0}, {answer(7, 0), time.Second}}, false, false},
		"mail came in between":     {[]look{{answer(7, 0), 0}, {answer(7, 1), time.Second}, {answer(7, 0), time.Second}}, false, false},
		"unreachable in between":   {[]look{{answer(7, 0), 0}, {nil, time.Second}, {answer(7, 0), time.Second}}, false, false},
		"with mail":                {[]look{{answer(7, 5), 0}, {answer(7, 5), time.Second}}, false, false},
		"a configuration not ours": {[]look{{answer(8, 0), 0}, {answer(8, 0), time.Second}}, false, false},
		"empty for a longer while": {[]look{{answer(7, 0), 0}, {answer(7, 0), time.Hour}, {answer(7, 0), time.Hour}}, true, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var d drain
			now := start
			for _, l := range test.looks {
				now = now.Add(l.after)
				d = d.look(l.s, 7, test.handsOver, now)
			}
			if d.done() != test.done {
				t.Errorf("done is %v", d.done())
			}
		})
	}
}

func TestBump(t *testing.T) {
	value, at := bump{}, start
	var told []time.Duration
	for range 300 {
		if next, due := value.next(4, at); due {
			told = append(told, at.Sub(start))
			value = parseBump(next.String())
		}
		at = at.Add(time.Second)
	}
	if want := []time.Duration{0, 2 * time.Second, 4 * time.Second, 6 * time.Second, 8 * time.Second}; !slices.Equal(told, want) {
		t.Errorf("the kubelet is told after %v", told)
	}
	if _, due := value.next(5, at.Add(-time.Second)); !due {
		t.Error("another generation waits")
	}
	for _, odd := range []string{"", "x", "1.2", "1.2.x"} {
		if b := parseBump(odd); b != (bump{}) {
			t.Errorf("%q is read as %v", odd, b)
		}
	}
}

// member is a pod of the relay "out"; r: ready, u: updated, s: surplus, d: being deleted, m: it does not answer (mute).
func member(ordinal int32, flags string) pod {
	p := pod{Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("out-%d", ordinal)}}, ordinal: ordinal}
	for _, f := range flags {
		switch f {
		case 'r':
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		case 'u':
			p.updated = true
		case 's':
			p.surplus = true
		case 'd':
			p.DeletionTimestamp = &metav1.Time{Time: start}
		case 'm':
			p.Annotations = map[string]string{"mute": ""}
		}
	}
	return p
}

func TestOutdated(t *testing.T) {
	tests := map[string]struct {
		pods []pod
		want string
	}{
		"all new":                         {[]pod{member(0, "ru"), member(1, "ru"), member(2, "ru")}, ""},
		"all old":                         {[]pod{member(0, "r"), member(1, "r"), member(2, "r")}, "out-0"},
		"the rest":                        {[]pod{member(0, "ru"), member(1, "r"), member(2, "r")}, "out-1"},
		"unready first":                   {[]pod{member(0, "r"), member(1, ""), member(2, "r")}, "out-1"},
		"wait for the one being replaced": {[]pod{member(0, "u"), member(1, "r"), member(2, "r")}, ""},
		"an unready one all the same":     {[]pod{member(0, "u"), member(1, ""), member(2, "r")}, "out-1"},
		"one is missing":                  {[]pod{member(0, "ru"), member(2, "r")}, ""},
		"one is ending":                   {[]pod{member(0, "rud"), member(1, ""), member(2, "r")}, ""},
		"surplus ones are left alone":     {[]pod{member(0, "ru"), member(1, "ru"), member(2, "ru"), member(3, "rs")}, ""},
		"surplus ones don't matter":       {[]pod{member(0, "ru"), member(1, "r"), member(2, "ru"), member(3, "sd")}, "out-1"},
		"none":                            {nil, ""},

		"ready, but its spool is not open":     {[]pod{member(0, "rum"), member(1, "r"), member(2, "r")}, ""},
		"the mute one first":                   {[]pod{member(0, "r"), member(1, "rm"), member(2, "ru")}, "out-1"},
		"two are mute":                         {[]pod{member(0, "rm"), member(1, "rm"), member(2, "r")}, ""},
		"an unready one beside a mute one":     {[]pod{member(0, "rm"), member(1, ""), member(2, "r")}, "out-1"},
		"of two unready ones":                  {[]pod{member(0, "ru"), member(1, ""), member(2, "")}, "out-1"},
		"an unready one while one is missing":  {[]pod{member(0, "r"), member(1, "")}, "out-1"},
		"the last, and all else is as it were": {[]pod{member(0, "ru"), member(1, "ru"), member(2, "r")}, "out-2"},
	}
	serves := func(p pod) bool { _, mute := p.Annotations["mute"]; return p.ready() && !mute }
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := outdated(test.pods, 3, serves)
			if ok != (test.want != "") || ok && got.Name != test.want {
				t.Errorf("got %v, want %q", got.Pod, test.want)
			}
		})
	}
}

func TestPodsOf(t *testing.T) {
	named := func(name, revision string, phase corev1.PodPhase) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{revisionLabel: revision}},
			Status:     corev1.PodStatus{Phase: phase},
		}
	}
	list := []corev1.Pod{
		named("out-10", "new", corev1.PodRunning), named("out-2", "old", corev1.PodRunning), named("out-0", "new", corev1.PodPending),
		named("out-1", "new", corev1.PodFailed), named("out-x", "new", corev1.PodRunning), named("out-03", "new", corev1.PodRunning),
		named("other-0", "new", corev1.PodRunning), named("out--1", "new", corev1.PodRunning),
	}
	goes := func(ordinal int32) bool { return ordinal >= 3 }
	pods := podsOf(list, "out", goes, "new")
	if len(pods) != 3 || pods[0].Name != "out-0" || pods[1].Name != "out-2" || pods[2].Name != "out-10" {
		t.Fatalf("got %v", pods)
	}
	if pods[1].updated || !pods[0].updated || pods[1].surplus || !pods[2].surplus {
		t.Error("updated or surplus is wrong")
	}
	for _, p := range podsOf(list, "out", goes, "") {
		if !p.updated {
			t.Error("a pod is outdated before the newest revision is known")
		}
	}
}
