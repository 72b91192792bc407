package mailrelay

import (
	"errors"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestTurns(t *testing.T) {
	relay := func(name string) client.ObjectKey { return client.ObjectKey{Namespace: "mail", Name: name} }
	turns := newTurns(2)
	recall := func(names ...string) error {
		return turns.recall(func() (keys []client.ObjectKey, err error) {
			for _, name := range names {
				keys = append(keys, relay(name))
			}
			return keys, nil
		})
	}
	expect := func(name string, well, want bool) {
		t.Helper()
		if got := turns.take(relay(name), well); got != want {
			t.Errorf("%s has a turn: %v, want %v", name, got, want)
		}
	}
	expect("a", true, true)
	expect("b", false, true)
	expect("c", true, false)
	expect("a", false, true) // it has it already

	turns.done(relay("a"), false)
	expect("c", true, false) // a was well and is not: the version may be to blame
	turns.done(relay("b"), false)
	expect("c", true, true) // b was not well before
	turns.done(relay("a"), true)
	expect("d", true, true)
	expect("e", true, false)

	turns.resume(relay("f")) // an operator that starts finds it under way
	turns.drop(relay("c"))
	expect("e", true, false)
	turns.done(relay("f"), false)
	expect("e", true, false)
	turns.done(relay("f"), true)
	expect("e", true, true)
	turns.done(relay("nobody"), true)

	turns = newTurns(2)
	if err := errors.Join(recall("a", "b"), recall("c")); err != nil {
		t.Fatal(err)
	}
	expect("d", true, false) // another operator had begun with a and b
	turns.done(relay("a"), true)
	expect("d", true, true)
}
