package spool

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestTable(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open("spool", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"b", "a", "c", "a\x00x"} {
		if err := s.Put("one", key, []byte("value of "+key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Put("on", "z", nil), s.Put("onee", "z", nil), s.Drop("one", "b"), s.Drop("one", "never there")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open("spool", Options{FS: fs}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	value, err := s.Lookup("one", "a")
	if string(value) != "value of a" || err != nil {
		t.Errorf("Lookup: %q, %v", value, err)
	}
	if _, err := s.Lookup("one", "b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Lookup of what was dropped: %v", err)
	}
	var keys []string
	for after := ""; ; {
		page, err := s.Rows("one", after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			keys = append(keys, r.Key)
			after = r.Key
		}
		if len(page) < 2 {
			break
		}
	}
	if got := fmt.Sprintf("%q", keys); got != `["a" "a\x00x" "c"]` {
		t.Errorf("Rows: %s", got)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}
