package filter

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestGateShuts: once a filter was asked, nobody reads the message any more.
func TestGateShuts(t *testing.T) {
	g := &gate{}
	in := g.guard(strings.NewReader("abc"))
	if n, err := in.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := g.shut(); err != nil {
		t.Error(err)
	}
	if n, err := in.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after shut: %d, %v", n, err)
	}
}
