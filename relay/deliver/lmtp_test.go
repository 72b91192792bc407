package deliver_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/route"
	"github.com/postrider/postrider/relay/smtptest"
)

func lmtp(port int) route.Hop {
	h := hop(port)
	h.LMTP = true
	return h
}

func TestLMTPDecidesPerRecipient(t *testing.T) {
	full := reply.Reply{Code: 452, Enhanced: "4.2.2", Text: "full"}
	for _, offer := range [][]string{nil, {"CHUNKING", "DSN"}} {
		s := newSink(t, smtptest.Options{LMTP: true, Offer: offer,
			Replies: map[string]reply.Reply{"no@x.test": {Code: 550, Enhanced: "5.1.1", Text: "who?"}},
			Each: func(_ smtptest.Message, to string) reply.Reply {
				if strings.HasPrefix(to, "full") {
					return full
				}
				return reply.Reply{}
			}})
		c := newClient(t)
		e := mail("a@x.test", "no@x.test", "full@x.test", "b@x.test")
		e.EnvelopeID = "QQ"
		for range 2 { // the second over the same connection: every reply was read
			outcomes := c.Do(t.Context(), "relay.test", e, open, plan(lmtp(s.Port())))
			for i, want := range []string{"250", "550 5.1.1", "452 4.2.2", "250"} {
				o := outcomes[i]
				if !strings.HasPrefix(o.Reply.String(), want) || (o.Handover == envelope.HandoverFinal) != (want == "250") {
					t.Errorf("%v, %d: %+v, want %s", offer, i, o, want)
				}
			}
		}
		m := s.Messages()
		if len(m) != 2 || s.Connections() != 1 || !slices.Equal(m[1].To, []string{"a@x.test", "b@x.test"}) ||
			string(m[1].Data) != content || m[1].Chunked != (offer != nil) || strings.Contains(m[1].Params, "ENVID") {
			t.Errorf("%v: %d connections, %+v", offer, s.Connections(), m)
		}
	}
}

func TestLMTPRefusesAllOrBreaksOff(t *testing.T) {
	answer := smtptest.Reply
	for name, tc := range map[string]struct {
		steps map[string][]smtptest.Step
		want  []string
	}{
		"all refused": {map[string][]smtptest.Step{"RCPT": {answer("550 5.1.1 no")}, "DATA": {answer("503 5.5.1 nobody")}, "BDAT": {answer("503 5.5.1 nobody")}},
			[]string{"550 5.1.1 no", "550 5.1.1 no"}},
		"breaks off": {map[string][]smtptest.Step{".": {{Send: "250 2.0.0 a\r\n", Close: true}}, "BDAT": {{Send: "250 2.0.0 a\r\n", Close: true}}},
			[]string{"250 2.0.0 a", "421 4.4.2"}},
		"421": {map[string][]smtptest.Step{".": {{Send: "421 4.3.2 bye\r\n", Close: true}}, "BDAT": {{Send: "421 4.3.2 bye\r\n", Close: true}}},
			[]string{"421 4.3.2 bye", "421 4.4.2"}},
		"too few": {map[string][]smtptest.Step{".": {answer("250 2.0.0 a")}, "BDAT": {answer("250 2.0.0 a")}},
			[]string{"250 2.0.0 a", "421 4.4.2 time-out"}},
		"too many": {map[string][]smtptest.Step{".": {answer("250 a", "550 b", "250 c")}, "BDAT": {answer("250 a", "550 b", "250 c")}},
			[]string{"250 a", "550 b"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, extensions := range [][]string{{"PIPELINING"}, {"PIPELINING", "CHUNKING"}, nil} {
				tc.steps["LHLO"] = []smtptest.Step{ehlo(extensions...)}
				p, second := newPeer(t, smtptest.Script{Steps: tc.steps}), newPeer(t, smtptest.Script{})
				wantReplies(t, do(t, newImpatient(t), mail("a@x.test", "b@x.test"), plan(lmtp(p.Port()), lmtp(second.Port()))), tc.want...)
				if second.Connections() != 0 {
					t.Error("the second host was given the message too")
				}
			}
		})
	}
}

func TestLMTPKnowsNoHELO(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"LHLO": {smtptest.Reply("500 5.5.1 this is SMTP")}}})
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(lmtp(p.Port()))), "421 4.3.2 answered LHLO with: 500")
	if heard := strings.Join(p.Lines(), " "); strings.Contains(heard, "HELO") || strings.Contains(heard, "MAIL") {
		t.Errorf("heard %s", heard)
	}
}

func TestLMTPAndSMTPShareNoConnection(t *testing.T) {
	p := newPeer(t, smtptest.Script{})
	c := newClient(t)
	wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "250")
	wantReplies(t, do(t, c, mail("a@x.test"), plan(lmtp(p.Port()))), "250")
	if p.Connections() != 2 {
		t.Errorf("%d connections", p.Connections())
	}
}
