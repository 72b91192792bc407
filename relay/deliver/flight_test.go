package deliver_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/deliver"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/smtptest"
)

// silent is what a peer says that waits for more: what follows must come without it.
var silent = []smtptest.Step{{}}

var chunking = []smtptest.Step{ehlo("PIPELINING", "CHUNKING", "SIZE")}

// TestFlights counts round trips: the peer answers only when it has seen all that must come together, so that a
// client that waits for a reply in between gets none.
func TestFlights(t *testing.T) {
	reply := smtptest.Reply
	for name, tc := range map[string]struct {
		size  int64
		steps map[string][]smtptest.Step
		heard []string // from the second message on
	}{
		"PIPELINING: two": {int64(len(content)), map[string][]smtptest.Step{
			"MAIL": silent, "RCPT": silent, "DATA": {reply("250 mail", "250 rcpt", "250 rcpt", "354 go")}},
			[]string{"MAIL", "RCPT", "RCPT", "DATA"}},
		"PIPELINING and CHUNKING: one": {int64(len(content)), map[string][]smtptest.Step{"EHLO": chunking,
			"MAIL": silent, "RCPT": silent, "BDAT": {reply("250 mail", "250 rcpt", "250 rcpt", "250 taken")}},
			[]string{"MAIL", "RCPT", "RCPT", "BDAT"}},
		"64 KiB: one": {64 << 10, map[string][]smtptest.Step{"EHLO": chunking,
			"MAIL": silent, "RCPT": silent, "BDAT": {reply("250 mail", "250 rcpt", "250 rcpt", "250 taken")}},
			[]string{"MAIL", "RCPT", "RCPT", "BDAT"}},
		"more than 64 KiB: two": {64<<10 + 1, map[string][]smtptest.Step{"EHLO": chunking,
			"MAIL": silent, "RCPT": silent, "DATA": {reply("250 mail", "250 rcpt", "250 rcpt", "354 go")}},
			[]string{"MAIL", "RCPT", "RCPT", "DATA"}},
		"CHUNKING alone: step by step": {int64(len(content)), map[string][]smtptest.Step{"EHLO": {ehlo("CHUNKING")}},
			[]string{"MAIL", "RCPT", "RCPT", "DATA"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, smtptest.Script{Steps: tc.steps})
			c := newImpatient(t)
			e := mail("a@x.test", "b@x.test")
			e.Size = tc.size
			open := ofSize(tc.size)
			for range 3 {
				for _, o := range c.Do(t.Context(), "relay.test", e, open, plan(hop(p.Port()))) {
					if o.Reply.Code != 250 {
						t.Fatal(o.Reply)
					}
				}
			}
			want := slices.Concat([]string{"CONNECT", "EHLO"}, tc.heard, tc.heard, tc.heard)
			if heard := verbs(p); !slices.Equal(heard, want) {
				t.Errorf("heard %q", heard)
			}
		})
	}
}

// ofSize opens the usual content, made longer.
func ofSize(size int64) func() (io.ReadCloser, error) {
	long := content + strings.Repeat("x", int(size)-len(content))
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(long)), nil }
}

func verbs(p *smtptest.Peer) []string {
	var verbs []string
	for _, line := range p.Lines() {
		verb, _, _ := strings.Cut(line, " ")
		verbs = append(verbs, verb)
	}
	return verbs
}

func TestAChunkIsSentAsItIs(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"EHLO": chunking}})
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(hop(p.Port()))), "250")
	if got := p.Contents(); !slices.Equal(got, []string{content}) {
		t.Errorf("got %q", got)
	}
	if lines := p.Lines(); lines[len(lines)-1] != fmt.Sprintf("BDAT %d LAST", len(content)) {
		t.Errorf("heard %q", lines)
	}
	s := newSink(t, smtptest.Options{Offer: []string{"CHUNKING"}})
	c := newClient(t)
	for range 3 {
		wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(s.Port()))), "250 2.0.0 kept")
	}
	for _, m := range s.Messages() {
		if string(m.Data) != content || !m.Chunked {
			t.Errorf("kept %+v", m)
		}
	}
	if s.Accepted() != 3 || s.Connections() != 1 {
		t.Errorf("%d messages over %d connections", s.Accepted(), s.Connections())
	}
}

func TestOneFlightIsJudgedPerRecipient(t *testing.T) {
	reply := smtptest.Reply
	no := []smtptest.Step{reply("550 5.1.1 no")}
	for name, tc := range map[string]struct {
		steps map[string][]smtptest.Step
		want  []string
		then  string // what the next message begins with on the same connection; empty for a new one
	}{
		"one refused":     {map[string][]smtptest.Step{"RCPT TO:<b": no}, []string{"250 2.0.0 ok", "550 5.1.1 no"}, "MAIL"},
		"all refused":     {map[string][]smtptest.Step{"RCPT": no, "BDAT": {reply("503 5.5.1 nobody")}}, []string{"550 5.1.1 no", "550 5.1.1 no"}, "RSET"},
		"all refused 554": {map[string][]smtptest.Step{"RCPT": no, "BDAT": {reply("554 5.5.1 nobody")}}, []string{"550 5.1.1 no", "550 5.1.1 no"}, "RSET"},
		"taken for nobody": {map[string][]smtptest.Step{"RCPT": no},
			[]string{"550 5.1.1 no", "550 5.1.1 no"}, "RSET"},
		"mail refused": {map[string][]smtptest.Step{"MAIL": {reply("550 5.7.1 spf")}, "RCPT": {reply("503 no")}, "BDAT": {reply("503 no")}},
			[]string{"550 5.7.1 spf", "550 5.7.1 spf"}, "MAIL"},
		"content refused":  {map[string][]smtptest.Step{"RCPT TO:<b": no, "BDAT": {reply("554 5.7.1 spam")}}, []string{"554 5.7.1 spam", "550 5.1.1 no"}, "RSET"},
		"content deferred": {map[string][]smtptest.Step{"BDAT": {reply("452 4.3.1 full")}}, []string{"452 4.3.1 full", "452 4.3.1 full"}, "RSET"},
		"421 at the end":   {map[string][]smtptest.Step{"BDAT": {reply("421 4.3.2 bye")}}, []string{"421 4.3.2 bye", "421 4.3.2 bye"}, ""},
		"421 at RCPT":      {map[string][]smtptest.Step{"RCPT TO:<b": {reply("421 4.3.2 bye")}}, []string{"250", "421 4.3.2 bye"}, ""},
		"not understood":   {map[string][]smtptest.Step{"BDAT": {reply("502 5.5.1 what?")}}, []string{"451 4.5.0 BDAT was answered with: 502", "451 4.5.0"}, "RSET"},
		"dies":             {map[string][]smtptest.Step{"BDAT": {{Close: true}}}, []string{"421 4.4.2", "421 4.4.2"}, ""},
		"dies, b refused":  {map[string][]smtptest.Step{"RCPT TO:<b": no, "BDAT": {{Close: true}}}, []string{"421 4.4.2", "550 5.1.1 no"}, ""},
		"silent":           {map[string][]smtptest.Step{"BDAT": silent}, []string{"421 4.4.2 time-out", "421 4.4.2 time-out"}, ""},
		"not a word":       {map[string][]smtptest.Step{"MAIL": silent, "RCPT": silent, "BDAT": {{Close: true}}}, []string{"421 4.4.2", "421 4.4.2"}, ""},
		"garbage":          {map[string][]smtptest.Step{"BDAT": {reply("ok")}}, []string{"451 4.5.0", "451 4.5.0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.steps["EHLO"] = chunking
			p, second := newPeer(t, smtptest.Script{Steps: tc.steps}), newPeer(t, smtptest.Script{})
			c := newImpatient(t)
			wantReplies(t, do(t, c, mail("a@x.test", "b@x.test"), plan(hop(p.Port()), hop(second.Port()))), tc.want...)
			if second.Connections() != 0 {
				t.Error("the second host was given the message too")
			}
			before := len(p.Lines())
			do(t, c, mail("c@x.test"), plan(hop(p.Port())))
			got := verbs(p)[before:]
			if tc.then == "" && (len(got) == 0 || got[0] != "CONNECT") || tc.then != "" && got[0] != tc.then {
				t.Errorf("went on with %q", got)
			}
		})
	}
}

func TestWhoDoesNotCopeWithOneFlightGetsDATA(t *testing.T) {
	for name, bdat := range map[string]smtptest.Step{
		"hangs up":       {Close: true},
		"not understood": smtptest.Reply("500 5.5.1 BDAT?"),
	} {
		p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"EHLO": chunking, "BDAT": {bdat}}})
		c := newClient(t)
		wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "4")
		wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "250")
		c.CloseIdle()
		wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "250")
		if heard := strings.Join(p.Lines(), " "); strings.Count(heard, "BDAT") != 1 || len(p.Contents()) != 3 {
			t.Errorf("%s: heard %s", name, heard)
		}
	}
}

func TestAStaleConnectionIsReplacedBeforeOneFlight(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"EHLO": chunking,
		"MAIL": {smtptest.Reply("250 ok"), {Close: true}}}})
	c := newClient(t)
	for range 2 {
		wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "250")
	}
	if p.Connections() != 2 || len(p.Contents()) != 2 {
		t.Errorf("%d connections, %d messages", p.Connections(), len(p.Contents()))
	}
}

// The message may have arrived when a connection that waited falls silent: it is not sent again at once.
func TestSilenceAfterOneFlightIsNoStaleConnection(t *testing.T) {
	once := []smtptest.Step{smtptest.Reply("250 ok"), {}}
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"EHLO": chunking, "MAIL": once, "RCPT": once, "BDAT": once}})
	c := newImpatient(t)
	wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "250")
	wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "421 4.4.2 time-out")
	if p.Connections() != 1 || len(p.Contents()) != 2 {
		t.Errorf("%d connections, %d messages", p.Connections(), len(p.Contents()))
	}
}

// The peer hangs up before the message is out: it cannot have arrived, and another host may have it.
func TestAFlightThatWasNotSentGoesToTheNextHost(t *testing.T) {
	s := newSink(t, smtptest.Options{})
	broken := errors.New("broken pipe")
	c := deliver.New(deliver.Options{Dial: dialThat(s.Addr(), broken)})
	t.Cleanup(c.CloseIdle)
	first := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"EHLO": chunking}})
	wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(first.Port()), hop(s.Port()))), "250 2.0.0 kept")
	if len(first.Contents()) != 0 || s.Accepted() != 1 {
		t.Errorf("%q, %d", first.Contents(), s.Accepted())
	}
}

func TestAMessageThatCannotBeReadIsNotBegun(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"EHLO": chunking}})
	c := newClient(t)
	for name, from := range map[string]io.Reader{
		"broken": io.MultiReader(strings.NewReader("Subject: x\r\n"), errReader{errors.New("disk gone")}),
		"short":  strings.NewReader("Subject: x\r\n"),
		"empty":  strings.NewReader(""),
		"long":   strings.NewReader(content + "x"),
	} {
		open := func() (io.ReadCloser, error) { return io.NopCloser(from), nil }
		o := c.Do(t.Context(), "relay.test", mail("a@x.test"), open, plan(hop(p.Port())))[0]
		if o.Reply.Code != 451 || o.Reply.Enhanced != "4.3.0" {
			t.Errorf("%s: %s", name, o.Reply)
		}
	}
	if heard := p.Lines(); len(heard) != 2 {
		t.Errorf("heard %q", heard)
	}
}

func TestManyRecipientsInOneFlight(t *testing.T) {
	s := newSink(t, smtptest.Options{Offer: []string{"CHUNKING", "DSN"}, MaxRecipients: 40})
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("r%d@x.test", i))
	}
	e := mail(many...)
	for i := range e.Recipients {
		e.Recipients[i].Notify = envelope.NotifyFailure
	}
	for _, o := range newClient(t).Do(t.Context(), "relay.test", e, open, plan(hop(s.Port()))) {
		if o.Reply.Code != 250 || o.Handover != envelope.HandoverPassed {
			t.Fatalf("%+v", o)
		}
	}
	if s.Accepted() != 3 || s.Recipients() != 100 || s.Connections() != 1 {
		t.Errorf("%d messages for %d recipients over %d connections", s.Accepted(), s.Recipients(), s.Connections())
	}
}
