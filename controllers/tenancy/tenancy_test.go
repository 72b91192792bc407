package tenancy_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/postrider/postrider/controllers/tenancy"
)

// A namespace and a SendingDomain in it may be applied together, and the second be seen first.
func TestRelabelled(t *testing.T) {
	labelled := func(value string) client.Object {
		n := tenancy.Namespace()
		n.ObjectMeta = metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"mail": value}}
		return n
	}
	p := tenancy.Relabelled{}
	for what, test := range map[string]struct{ got, want bool }{
		"made":               {p.Create(event.CreateEvent{Object: labelled("yes")}), true},
		"there at the start": {p.Create(event.CreateEvent{Object: labelled("yes"), IsInInitialList: true}), false},
		"relabelled":         {p.Update(event.UpdateEvent{ObjectOld: labelled("yes"), ObjectNew: labelled("no")}), true},
		"the same labels":    {p.Update(event.UpdateEvent{ObjectOld: labelled("yes"), ObjectNew: labelled("yes")}), false},
		"deleted":            {p.Delete(event.DeleteEvent{Object: labelled("yes")}), false},
	} {
		if test.got != test.want {
			t.Errorf("%s: %v", what, test.got)
		}
	}
}
