package deliver_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/smtptest"
)

func asked() *envelope.Envelope {
	e := mail("a@x.test", "b@x.test", "c@x.test", "d@x.test")
	e.EnvelopeID, e.Return = "Q+1 =\x07", envelope.ReturnHeaders
	r := e.Recipients
	r[0].Notify, r[0].Original = envelope.NotifySuccess|envelope.NotifyFailure|envelope.NotifyDelay, "rfc822;old+a@x.test"
	r[1].Notify = envelope.NotifyNever
	r[2].Original = "x_type;c c"
	return e
}

func TestDSNParametersArePassedOn(t *testing.T) {
	s := newSink(t, smtptest.Options{Offer: []string{"DSN"}, Without: []string{"SIZE"}})
	for _, o := range newClient(t).Do(t.Context(), "relay.test", asked(), open, plan(hop(s.Port()))) {
		if o.Reply.Code != 250 || o.Handover != envelope.HandoverPassed {
			t.Errorf("%+v", o)
		}
	}
	m := s.Messages()
	want := []string{"NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;old+2Ba@x.test", "NOTIFY=NEVER ORCPT=rfc822;b@x.test",
		"ORCPT=x_type;c+20c", ""}
	if len(m) != 1 || m[0].Params != "RET=HDRS ENVID=Q+2B1+20+3D+07" || !slices.Equal(m[0].RecipientParams, want) {
		t.Errorf("%+v", m)
	}
}

func TestDSNParametersAreForThoseWhoKnowThem(t *testing.T) {
	s := newSink(t, smtptest.Options{Without: []string{"SIZE", "8BITMIME", "SMTPUTF8"}})
	for _, o := range newClient(t).Do(t.Context(), "relay.test", asked(), open, plan(hop(s.Port()))) {
		if o.Reply.Code != 250 || o.Handover != envelope.HandoverRelayed {
			t.Errorf("%+v", o)
		}
	}
	if m := s.Messages(); len(m) != 1 || m[0].Params != "" || strings.Join(m[0].RecipientParams, "") != "" {
		t.Errorf("%+v", m)
	}
}

func TestPriorityIsPassedOnToThoseWhoKnowIt(t *testing.T) {
	for _, tc := range []struct {
		priority int
		offer    []string
		want     string
	}{
		{7, []string{"MT-PRIORITY"}, "MT-PRIORITY=7"}, {-9, []string{"MT-PRIORITY"}, "MT-PRIORITY=-9"},
		{0, []string{"MT-PRIORITY"}, ""}, {7, nil, ""},
	} {
		s := newSink(t, smtptest.Options{Offer: tc.offer, Without: []string{"SIZE"}})
		e := mail("a@x.test")
		e.Priority = tc.priority
		wantReplies(t, do(t, newClient(t), e, plan(hop(s.Port()))), "250 2.0.0 kept")
		if m := s.Messages(); len(m) != 1 || m[0].Params != tc.want {
			t.Errorf("%+v: %+v", tc, m)
		}
	}
}

func TestAFailureIsHandedOverToNobody(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"EHLO": {ehlo("DSN")}, "RCPT": {smtptest.Reply("550 5.1.1 no")}}})
	o := newClient(t).Do(t.Context(), "relay.test", mail("a@x.test"), open, plan(hop(p.Port())))[0]
	if o.Reply.Code != 550 || o.Handover != envelope.HandoverRelayed {
		t.Errorf("%+v", o)
	}
}

func TestAnotherHostMayHaveWhatOneLacks(t *testing.T) {
	for name, tc := range map[string]struct {
		without []string
		mail    func(*envelope.Envelope)
		lacks   string
		later   string
	}{
		"8BITMIME": {[]string{"8BITMIME"}, func(e *envelope.Envelope) { e.EightBit = true }, "554 5.6.3", "451 4.6.3"},
		"SMTPUTF8": {[]string{"SMTPUTF8"}, func(e *envelope.Envelope) { e.UTF8, e.Recipients[0].Address = true, "ä@x.test" }, "550 5.6.7", "451 4.6.7"},
	} {
		lacking, able := newSink(t, smtptest.Options{Without: tc.without}), newSink(t, smtptest.Options{})
		c, e := newClient(t), mail("a@x.test")
		tc.mail(e)
		wantReplies(t, do(t, c, e, plan(hop(lacking.Port()), hop(able.Port()))), "250 2.0.0 kept")
		wantReplies(t, do(t, c, e, plan(hop(lacking.Port()), hop(closedPort(t)))), tc.lacks)
		// The best host may have it, and is down for the moment: also while it is passed over for that.
		better := hop(closedPort(t))
		wantReplies(t, do(t, c, e, plan(better, hop(lacking.Port()))), tc.later)
		wantReplies(t, do(t, c, e, plan(better, hop(lacking.Port()))), tc.later)
		skipping := plan(hop(lacking.Port()))
		skipping.Skipped = true
		wantReplies(t, do(t, c, e, skipping), tc.later)
		if lacking.Accepted() != 0 || able.Accepted() != 1 || string(able.Messages()[0].Data) != content {
			t.Errorf("%s: %d and %d messages", name, lacking.Accepted(), able.Accepted())
		}
	}
}

func TestTheAnnouncedSizeIsFinal(t *testing.T) {
	small, large := newSink(t, smtptest.Options{MaxBytes: int64(len(content)) - 1}), newSink(t, smtptest.Options{})
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(hop(small.Port()), hop(large.Port()))), "552 5.3.4")
	exact := newSink(t, smtptest.Options{MaxBytes: int64(len(content))})
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(hop(exact.Port()))), "250")
}
