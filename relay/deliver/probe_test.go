package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/deliver"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/route"
	"github.com/postrider/postrider/relay/smtptest"
)

func TestProbe(t *testing.T) {
	answer := smtptest.Reply
	for name, tc := range map[string]struct {
		steps map[string][]smtptest.Step
		want  string // from this host alone
		next  bool   // another host is asked
	}{
		"known":           {nil, "250", false},
		"unknown":         {map[string][]smtptest.Step{"RCPT": {answer("550 5.1.1 who?")}}, "550 5.1.1 who?", false},
		"deferred":        {map[string][]smtptest.Step{"RCPT": {answer("450 4.2.1 grey")}}, "450 4.2.1 grey", false},
		"421 at RCPT":     {map[string][]smtptest.Step{"RCPT": {answer("421 4.3.2 bye")}}, "421 4.3.2 bye", false},
		"no null path":    {map[string][]smtptest.Step{"MAIL": {answer("550 5.7.1 no <>")}, "RCPT": {answer("503 no")}}, "421 4.3.2 answered MAIL with: 550", true},
		"no greeting":     {map[string][]smtptest.Step{"GREETING": {answer("554 5.7.1 no")}}, "421 4.3.2", true},
		"hangs up":        {map[string][]smtptest.Step{"RCPT": {{Close: true}}}, "421 4.4.2", true},
		"hangs up after":  {map[string][]smtptest.Step{"RCPT": {answer("550 5.1.1 who?")}, "RSET": {{Close: true}}}, "550 5.1.1 who?", false},
		"garbage":         {map[string][]smtptest.Step{"RCPT": {answer("yes")}}, "451 4.5.0", true},
		"RSET is refused": {map[string][]smtptest.Step{"RSET": {answer("500 5.5.1 what?")}}, "250", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, extensions := range [][]string{nil, {"PIPELINING", "CHUNKING"}} {
				steps := map[string][]smtptest.Step{"EHLO": {ehlo(extensions...)}}
				for key, step := range tc.steps {
					steps[key] = step
				}
				p, second := newPeer(t, smtptest.Script{Steps: steps}), newPeer(t, smtptest.Script{})
				c := newImpatient(t)
				o := c.Probe(t.Context(), "relay.test", plan(hop(p.Port())), "a@x.test", false)
				if !strings.HasPrefix(o.Reply.String(), tc.want) || o.At.IsZero() || o.NextHop == "" {
					t.Errorf("%+v", o)
				}
				if spoken := !strings.HasPrefix(tc.want, "250") && !tc.next; o.AtRecipient != spoken {
					t.Errorf("at the recipient: %v for %s", o.AtRecipient, o.Reply)
				}
				c.Probe(t.Context(), "relay.test", plan(hop(p.Port()), hop(second.Port())), "a@x.test", false)
				if (second.Connections() > 0) != tc.next {
					t.Errorf("the second host had %d connections", second.Connections())
				}
				if heard := fmt.Sprint(p.Lines()); strings.Contains(heard, "DATA") || strings.Contains(heard, "BDAT") {
					t.Errorf("heard %s", heard)
				}
			}
		})
	}
}

func TestAProbeGoesInOneFlightAndLeavesTheConnectionForMail(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{
		"MAIL FROM:<>": silent, "RCPT TO:<probe": silent, "RSET": {smtptest.Reply("250 mail", "250 rcpt", "250 reset")}}})
	c := newImpatient(t)
	for range 2 {
		if o := c.Probe(t.Context(), "relay.test", plan(hop(p.Port())), "probe@x.test", false); o.Reply.Code != 250 {
			t.Fatal(o.Reply)
		}
		wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "250")
	}
	round := []string{"MAIL FROM:<>", "RCPT TO:<probe@x.test>", "RSET", "MAIL FROM:<from@sender.test>", "RCPT TO:<a@x.test>", "DATA"}
	if heard := p.Lines(); !slices.Equal(heard, slices.Concat([]string{"CONNECT", "EHLO relay.test"}, round, round)) {
		t.Errorf("heard %q", heard)
	}
}

func TestProbeOfWhatCannotBe(t *testing.T) {
	s := newSink(t, smtptest.Options{Without: []string{"SMTPUTF8"}})
	c := newClient(t)
	p := plan(hop(s.Port()))
	for address, want := range map[string]string{"a@x.test": "250", "ä@x.test": "550 5.6.7", "a b@x.test": "553 5.1.3"} {
		o := c.Probe(t.Context(), "relay.test", p, address, address == "ä@x.test")
		if !strings.HasPrefix(o.Reply.String(), want) {
			t.Errorf("%s: %s", address, o.Reply)
		}
	}
	if o := c.Probe(t.Context(), "relay.test", plan(hop(closedPort(t))), "a@x.test", false); !strings.HasPrefix(o.Reply.String(), "421 4.4.1") {
		t.Error(o.Reply)
	}
	if o := c.Probe(t.Context(), "relay.test", plan(lmtp(s.Port())), "a@x.test", false); !strings.HasPrefix(o.Reply.String(), "421 4.3.2") {
		t.Error(o.Reply)
	}
}

func TestGreet(t *testing.T) {
	ca := smtptest.NewCA()
	s := newSink(t, smtptest.Options{TLS: ca.ServerTLS("mx.test"), Auth: func(_, _, secret string) bool { return secret == "good" }})
	good := hop(s.Port())
	good.TLS, good.RootCAs, good.Username, good.Password = config.HopRequired, ca.Pool(), "user", "good"
	bad, strict, down := good, good, good
	bad.Password = "bad"
	strict.RootCAs = smtptest.NewCA().Pool()
	down.Port = closedPort(t)
	c := newClient(t)
	for name, tc := range map[string]struct {
		hop  route.Hop
		want string
	}{
		"up": {good, ""}, "AUTH": {bad, "454 4.7.0"}, "TLS": {strict, "454 4.7.5"}, "down": {down, "421 4.4.1"},
		"LMTP": {lmtp(s.Port()), "421 4.3.2"}, "no address": {route.Hop{}, "421 4.4.1"},
	} {
		err := c.Greet(t.Context(), "relay.test", tc.hop)
		if (err == nil) != (tc.want == "") || err != nil && !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	before := s.Connections()
	wantReplies(t, do(t, c, mail("a@x.test"), plan(good)), "250")
	if s.Connections() != before {
		t.Error("the connection was not kept for a message")
	}
	if err := c.Greet(t.Context(), "relay.test", good); err != nil || s.Connections() != before+1 {
		t.Errorf("%v; %d connections: a connection that waited proves nothing", err, s.Connections()-before)
	}
}

func TestHostsAreObserved(t *testing.T) {
	answer := smtptest.Reply
	refusing := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"GREETING": {answer("421 4.3.2 busy")}}})
	dying := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"MAIL": {{Close: true}}}})
	lacking, good := newSink(t, smtptest.Options{Without: []string{"8BITMIME"}}), newSink(t, smtptest.Options{})
	down := hop(closedPort(t))
	down.Addrs = append(down.Addrs, down.Addrs...)
	hops := []route.Hop{down, hop(refusing.Port()), hop(dying.Port()), hop(lacking.Port()), hop(good.Port()), hop(good.Port())}
	var seen []string
	c := deliver.New(deliver.Options{Observe: func(h route.Hop, err error) {
		at := slices.IndexFunc(hops, func(other route.Hop) bool { return other.Port == h.Port })
		var r interface{ Error() string } = reply.Reply{Code: 0, Text: "up"}
		if err != nil {
			r = err
		}
		seen = append(seen, fmt.Sprintf("%d: %.9s", at, r.Error()))
	}})
	t.Cleanup(c.CloseIdle)
	e := mail("a@x.test")
	e.EightBit = true
	wantReplies(t, do(t, c, e, plan(hops...)), "250")
	want := []string{"0: 421 4.4.1", "1: 421 4.3.2", "2: 000 up", "3: 000 up", "4: 000 up"}
	if !slices.Equal(seen, want) {
		t.Errorf("saw  %q\nwant %q", seen, want)
	}
	seen = nil
	wantReplies(t, do(t, c, e, plan(hops[4])), "250") // over the connection that waited
	c.Probe(t.Context(), "relay.test", plan(hops[4]), "a@x.test", false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Do(ctx, "relay.test", e, open, plan(hops[0])) // broken off by us: nobody's failure
	if !slices.Equal(seen, []string{"4: 000 up"}) {
		t.Errorf("saw %q", seen)
	}
}

func TestAHostIsUpWhenOneOfItsAddressesIs(t *testing.T) {
	s := newSink(t, smtptest.Options{})
	var seen []error
	c := deliver.New(deliver.Options{Dial: dialThat(s.Addr(), nil), Observe: func(_ route.Hop, err error) { seen = append(seen, err) }})
	t.Cleanup(c.CloseIdle)
	h := hop(s.Port())
	h.Addrs = append(h.Addrs, h.Addrs[0].Next(), h.Addrs[0])
	h.Addrs = h.Addrs[1:] // 127.0.0.2, where nobody listens, and 127.0.0.1
	wantReplies(t, do(t, c, mail("a@x.test"), plan(h)), "250")
	if len(seen) != 1 || errors.Join(seen...) != nil {
		t.Errorf("saw %v", seen)
	}
}
