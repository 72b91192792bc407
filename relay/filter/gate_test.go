package filter

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
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

// TestSessionThatEnds: a message whose session is broken off is not accepted, even where a filter without a verdict
// would be passed over.
func TestSessionThatEnds(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	f := spamd(t, func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		end()
		<-req.Context().Done()
	})
	f.OnFailure = config.FailAccept
	r := newRig(t, nil, f)
	if _, err := r.chain.Message(ctx, sample()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
