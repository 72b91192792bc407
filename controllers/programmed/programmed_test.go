package programmed

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSinceStaysWhileTheContentsDo(t *testing.T) {
	r := Records{"mail/cap": Parse("not JSON").Next("mail/cap", "u/1", "d1", 4)}
	encoded, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r = Parse(encoded)
	if got := r.Next("mail/cap", "u/2", "d1", 9); got != (Record{Source: "u/2", Digest: "d1", Since: 4}) {
		t.Errorf("the same contents: %+v", got)
	}
	if got := r.Next("mail/cap", "u/2", "d2", 9); got != (Record{Source: "u/2", Digest: "d2", Since: 9}) {
		t.Errorf("other contents: %+v", got)
	}
	if got := r.Next("mail/other", "v/1", "d1", 9); got.Since != 9 {
		t.Errorf("another policy: %+v", got)
	}
}

func TestSourceTellsObjectsApart(t *testing.T) {
	first := Source(&metav1.ObjectMeta{UID: "a", Generation: 1})
	if first == Source(&metav1.ObjectMeta{UID: "b", Generation: 1}) || first == Source(&metav1.ObjectMeta{UID: "a", Generation: 2}) {
		t.Error("two objects, or two generations, have one source")
	}
}
