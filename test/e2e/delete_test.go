//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/postrider/postrider/api/v1alpha1"
)

// waiting is how many messages wait when a relay is deleted.
const waiting = 500

// A relay that is deleted delivers what it has, whoever operates meanwhile, and takes nothing new. It goes once all is
// delivered, with everything that belongs to it.
func TestDeleteDeliver(t *testing.T) {
	l := newDeletion(t, "delete-deliver")
	l.delete(t)
	eventually(t, 60*time.Second, "it waits for delivery", func() error { return l.conditionIs("Draining", "WaitingForDelivery") })
	must(t)(kubectl("-n", operatorNamespace, "delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false"))
	eventually(t, 60*time.Second, "nobody takes mail", l.takesNothing)
	left := l.left(t)
	t.Logf("%d recipients are left", left)
	l.open(t)
	l.gone(t, 5*time.Minute)
	l.leaves(t)
	if duplicates := l.lossless(t, time.Minute); duplicates != 0 {
		t.Errorf("%d duplicates", duplicates)
	}
	l.report(t)
}

// A relay that is deleted gives what it has to another, which delivers it though it knows nothing of the domain.
func TestDeleteHandoff(t *testing.T) {
	l := newDeletion(t, "delete-handoff")
	apply(t, l.namespace, fmt.Sprintf(otherManifest, l.domain))
	eventually(t, 120*time.Second, "the other relay is ready", func() error {
		mr, err := get[v1alpha1.MailRelay](l.namespace, "mailrelay", "other")
		return errors.Join(err, isTrue(mr.Status.Conditions, v1alpha1.ConditionReady))
	})
	l.patch(t, `{onDelete: Handoff, handoffTo: {name: other}}`)
	left := l.left(t)
	l.delete(t)
	eventually(t, 60*time.Second, "it hands over", func() error { return l.conditionIs("Draining", "HandingOff") })
	l.gone(t, 3*time.Minute)
	if duplicates := l.lossless(t, 2*time.Minute); duplicates != 0 {
		t.Errorf("%d duplicates", duplicates)
	}
	eventually(t, 30*time.Second, "the books of the other relay are right", func() error {
		st, err := l.statusOf("other-0")
		if b := st.Ledger; err == nil && (b.HandedIn == 0 || !b.Balanced() || b.HandedIn != b.Delivered) {
			err = fmt.Errorf("they are %+v", b)
		}
		return err
	})
	t.Logf("%d recipients were left", left)
	l.report(t)
}

// With Retain a relay goes at once and leaves nothing but its claims. Made again under its name, with fewer pods, it
// delivers what they hold.
func TestDeleteRetain(t *testing.T) {
	l := newDeletion(t, "delete-retain")
	l.patch(t, `{onDelete: Retain}`)
	l.delete(t)
	l.gone(t, 90*time.Second)
	l.leaves(t, "spool-"+l.pod(0), "spool-"+l.pod(1))
	l.again(t)
}

// A relay that is not empty in time stays with Hold, and says what can be done; with Force it goes and keeps its claims.
func TestDeleteTimeout(t *testing.T) {
	l := newDeletion(t, "delete-timeout")
	l.patch(t, `{timeoutSeconds: 5}`)
	l.delete(t)
	eventually(t, 60*time.Second, "its time is over", func() error { return l.conditionIs("Draining", "DrainTimedOut") })
	if pods, err := l.names("pods"); err != nil || len(pods) != 2 {
		t.Errorf("Hold leaves the pods %v, %v", pods, err)
	}
	l.patch(t, `{onTimeout: Force}`)
	l.gone(t, 90*time.Second)
	l.leaves(t, "spool-"+l.pod(0), "spool-"+l.pod(1))
	l.again(t)
}

const otherManifest = `
apiVersion: postrider.dev/v1alpha1
kind: MailRelay
metadata: {name: other}
spec:
  hostname: mx2.%[1]s
  postmaster: ops@%[1]s
  listeners: [{name: smtp, port: 25, mode: Relay}]
  queue: {storage: {size: 1Gi}, retry: {initialSeconds: 2, maxSeconds: 10}}
  routes: [{name: internet, mx: {allowCIDRs: [10.213.0.0/24]}}]
  egress: {addresses: [203.0.113.10]}
  dns: {resolvers: ["10.213.0.1:53"]}
`

// deletion is a relay of two pods with mail that waits.
type deletion struct{ *load }

// newDeletion brings it up: nearly nothing leaves, for a policy binds.
func newDeletion(t *testing.T, name string) *deletion {
	t.Helper()
	s := newSetup(t, name, options{replicas: 2, trusted: []string{"10.213.0.0/24", "10.214.0.0/24"}})
	apply(t, s.namespace, policy(1))
	eventually(t, 20*time.Second, "the policy binds", func() error { return s.programmed(1) })
	l := &deletion{load: &load{setup: s}}
	l.fill(t, waiting)
	return l
}

// fill sends so many messages, and waits until status knows of them.
func (l *load) fill(t *testing.T, messages int) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx, 8)
	}()
	eventually(t, 120*time.Second, "mail waits", func() error {
		if n := l.count(); n < messages {
			return fmt.Errorf("%d messages", n)
		}
		return nil
	})
	stop()
	<-ended
	eventually(t, 60*time.Second, "status knows", func() error {
		mr, err := l.relay()
		if err == nil && (mr.Status.Queue == nil || mr.Status.Queue.Queued < int64(messages)*3/4) {
			err = fmt.Errorf("the queue is %+v", mr.Status.Queue)
		}
		return err
	})
}

func (l *deletion) delete(t *testing.T) {
	t.Helper()
	must(t)(kubectl("delete", "mailrelay", relayName, "-n", l.namespace, "--wait=false"))
}

// patch changes spec.drain, written as YAML.
func (l *deletion) patch(t *testing.T, drain string) {
	t.Helper()
	must(t)(kubectl("patch", "mailrelay", relayName, "-n", l.namespace, "--type=merge", "-p", "spec: {drain: "+drain+"}"))
}

// open lets mail flow.
func (l *load) open(t *testing.T) {
	t.Helper()
	must(t)(kubectl("delete", "rlp", "per-site", "-n", l.namespace, "--ignore-not-found"))
}

// gone waits until the MailRelay is.
func (l *deletion) gone(t *testing.T, within time.Duration) {
	t.Helper()
	eventually(t, within, "the relay is gone", func() error {
		out, err := kubectl("get", "mailrelay", relayName, "-n", l.namespace, "--ignore-not-found", "-o", "jsonpath={.metadata.name} {.status.draining} {.status.pods}")
		if err == nil && out != "" {
			err = errors.New(out)
		}
		return err
	})
}

// leaves waits until there is no child object but these claims.
func (l *deletion) leaves(t *testing.T, claims ...string) {
	t.Helper()
	var want []string
	for _, claim := range claims {
		want = append(want, "PersistentVolumeClaim/"+claim)
	}
	eventually(t, 60*time.Second, fmt.Sprintf("nothing is left but the claims %v", claims), func() error {
		left, err := l.children()
		if slices.Sort(left); err == nil && !slices.Equal(left, want) {
			err = fmt.Errorf("left: %q", left)
		}
		return err
	})
}

// again makes the relay again with one pod, and expects all mail to arrive, none of it twice, and the surplus claim to go.
func (l *deletion) again(t *testing.T) {
	t.Helper()
	l.open(t)
	l.apply(t, options{replicas: 1})
	if duplicates := l.lossless(t, 3*time.Minute); duplicates != 0 {
		t.Errorf("%d duplicates", duplicates)
	}
	eventually(t, 120*time.Second, "one claim is left", func() error {
		claims, err := l.names("persistentvolumeclaims")
		if err == nil && !slices.Equal(claims, []string{"spool-" + l.pod(0)}) {
			err = fmt.Errorf("claims %v", claims)
		}
		return err
	})
	l.report(t)
}

func (l *load) report(t *testing.T) {
	t.Helper()
	lost, duplicates, err := l.compare()
	t.Logf("accepted %d, lost %d, duplicates %d, %v", l.count(), len(lost), duplicates, err)
}

// left is how much status says is in the queue.
func (l *load) left(t *testing.T) (queued int64) {
	t.Helper()
	eventually(t, 30*time.Second, "status tells of the queue", func() error {
		mr, err := l.relay()
		if err == nil && (mr.Status.Queue == nil || mr.Status.Queue.Queued == 0) {
			err = fmt.Errorf("the queue is %+v", mr.Status.Queue)
		}
		if err == nil {
			queued = mr.Status.Queue.Queued
		}
		return err
	})
	return queued
}

// takesNothing checks that no message is accepted.
func (l *load) takesNothing() error {
	before := l.count()
	ctx, stop := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer stop()
	err := l.session(ctx)
	if n := l.count() - before; n > 0 || err == nil {
		return fmt.Errorf("%d messages were accepted, %v", n, err)
	}
	return nil
}

// conditionIs checks the reason of a condition that is to be True.
func (s setup) conditionIs(kind, reason string) error {
	mr, err := s.relay()
	if err != nil {
		return err
	}
	if c := meta.FindStatusCondition(mr.Status.Conditions, kind); c == nil || c.Reason != reason || c.Status != "True" {
		return fmt.Errorf("%s is %+v", kind, c)
	}
	return nil
}

// children lists all that belongs to the relay, as Kind/name.
func (s setup) children() ([]string, error) {
	resources, err := kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name")
	if err != nil {
		return nil, err
	}
	out, err := kubectl("get", "-n", s.namespace, strings.Join(strings.Fields(resources), ","), "--ignore-not-found",
		"-l", "postrider.dev/relay="+relayName, "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name}{"\n"}{end}`)
	return strings.Fields(out), err
}
