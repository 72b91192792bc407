package mailrelay

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
)

// asked takes down deletions, and answers that they were made.
type asked struct {
	client.Client
	deleted []client.DeleteOptions
}

func (a *asked) Delete(_ context.Context, _ client.Object, options ...client.DeleteOption) error {
	a.deleted = append(a.deleted, *(&client.DeleteOptions{}).ApplyOptions(options))
	return nil
}

func staleClaim(version string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "spool-out-1", UID: "claim", ResourceVersion: version},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "volume"},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

func passOf(remembered *memory, c corev1.PersistentVolumeClaim) *pass {
	p := &pass{Reconciler: &Reconciler{Options: Options{Client: &asked{}}}, memory: remembered, now: start}
	p.relay = &v1alpha1.MailRelay{ObjectMeta: metav1.ObjectMeta{Name: "out"}}
	p.seen.claims = []corev1.PersistentVolumeClaim{c}
	p.recall()
	return p
}

// A claim is deleted just as it was seen, and is known to go before the cache says so.
func TestClaimsAreDeletedAsTheyWereSeen(t *testing.T) {
	m := (&memories{of: map[client.ObjectKey]*memory{}}).get(client.ObjectKey{Name: "out"}, "relay")
	p := passOf(m, staleClaim("7"))
	if err := p.deleteClaim(context.Background(), p.claimOf(1)); err != nil {
		t.Fatal(err)
	}
	deleted := p.Client.(*asked).deleted
	if len(deleted) != 1 || *deleted[0].Preconditions.UID != "claim" || *deleted[0].Preconditions.ResourceVersion != "7" {
		t.Errorf("asked for %+v", deleted)
	}
	for name, p := range map[string]*pass{"in this look": p, "in the next": passOf(m, staleClaim("7"))} {
		if c := p.claimOf(1); !p.doomed(1) || p.lost(c) {
			t.Errorf("%s: deleted %v, lost %v", name, p.doomed(1), p.lost(c))
		}
	}
}

// What was written last holds until the cache knows it; then what the claim says does.
func TestMarksThatTheCacheDoesNotKnowYet(t *testing.T) {
	cached := staleClaim("10")
	cached.Annotations = map[string]string{"postrider.dev/volume": "empty"}
	p := passOf(&memory{marks: map[types.UID]marked{"claim": {unmarked, "12"}}}, cached)
	for version, want := range map[string]mark{"10": unmarked, "11": unmarked, "12": empty, "13": empty} {
		cached.ResourceVersion = version
		if got := p.written(&cached); got != want {
			t.Errorf("at %s it is %q", version, got)
		}
	}
}

// A pod that is to take mail is looked at anew when it is to go, also if the pass that let it failed.
func TestAPodThatServesIsNotKnownToBeEmpty(t *testing.T) {
	empty := drain{empty: emptyLooks, last: start.Add(-time.Hour)}
	p := passOf(&memory{drains: map[types.UID]drain{"goes": empty, "drained": empty, "stays": empty}}, staleClaim("1"))
	for uid, pod := range map[types.UID]pod{"goes": {surplus: true}, "drained": {steered: steered{cordoned: true, drained: true}}, "stays": {}} {
		pod.Pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}}
		p.seen.pods = append(p.seen.pods, pod)
	}
	p.forgetServing()
	for uid, want := range map[types.UID]bool{"goes": true, "drained": true, "stays": false} {
		if got := p.memory.drains[uid].done(); got != want {
			t.Errorf("%s: known to be empty is %v", uid, got)
		}
	}
}
