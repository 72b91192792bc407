package relay_test

import (
	"net"
	"net/http"
	"net/textproto"
	"testing"
)

// SIGTERM: not ready any more, but served until the endpoints are drained; then 421 for all that is new, while what was
// begun is finished, stored, and there after the restart.
func TestTermination(t *testing.T) {
	drained := make(chan struct{})
	r := newRig(t, func(r *rig) {
		r.health, r.drain = freeAddress(t), func() { <-drained }
		r.routeTo(1) // where nobody listens: all mail stays
		r.domain("example.net", "127.0.0.1")
	})
	busy, idle := begin(t, r), begin(t, r)
	r.eventually("readiness", func() bool { return r.readiness() == http.StatusOK })
	idle.say("RSET", 250)
	r.stop()
	r.eventually("readiness to go off", func() bool { return r.readiness() == http.StatusServiceUnavailable })
	r.mustSend("a@relay.example", "b@example.net", message("a@relay.example", "while endpoints drain"))
	close(drained)
	idle.hear(421)
	dial(t, r).hear(421)
	busy.say("DATA", 354)
	busy.say("From: <a@relay.example>\r\nSubject: begun before\r\n\r\nHello.\r\n.", 250)
	busy.hear(421)
	r.stop = nil
	if err := <-r.stopped; err != nil {
		t.Fatal(err)
	}
	r.drain = nil
	r.start()
	if l := r.status().Ledger; l.Queued != 2 || l.Accepted != 2 || !l.Balanced() {
		t.Errorf("after the restart: %+v", l)
	}
}

// readiness is what a kubelet hears; 0 where nobody answers.
func (r *rig) readiness() int {
	answer, err := http.Get("http://" + r.health + "/readyz")
	if err != nil {
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// client is one that speaks line by line.
type client struct {
	*textproto.Conn
	t *testing.T
}

func dial(t *testing.T, r *rig) client {
	t.Helper()
	c, err := textproto.Dial("tcp", r.address("smtp"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return client{c, t}
}

// begin opens a session with a transaction that has a recipient.
func begin(t *testing.T, r *rig) client {
	t.Helper()
	c := dial(t, r)
	c.hear(220)
	c.say("EHLO client.example", 250)
	c.say("MAIL FROM:<a@relay.example>", 250)
	c.say("RCPT TO:<b@example.net>", 250)
	return c
}

func (c client) say(line string, code int) {
	c.t.Helper()
	if err := c.PrintfLine("%s", line); err != nil {
		c.t.Fatal(err)
	}
	c.hear(code)
}

func (c client) hear(code int) {
	c.t.Helper()
	if _, text, err := c.ReadResponse(code); err != nil {
		c.t.Fatalf("want %d, got %v %s", code, err, text)
	}
}
