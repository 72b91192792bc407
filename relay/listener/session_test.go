package listener

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

func TestMessageIsPassedOnAsItCame(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	p := r.greeted()
	p.do("MAIL FROM:<A@Example.com> SIZE=100 BODY=8BITMIME", "250 2.1.0",
		"RCPT TO:<\"b c\"@example.org>", "250 2.1.5",
		"RCPT TO:<postmaster>", "250 2.1.5",
		"DATA", "354 ",
		"Subject: x\r\n folded\r\n\r\n..dot\r\n...\r\nb\xc3\xb6dy\r\n.", "250 2.0.0 queued as 1",
		"QUIT", "221 2.0.0")
	p.expectEnd()
	got := r.handler.all()[0]
	if got.header != "Subject: x\r\n folded\r\n\r\n" || got.body != ".dot\r\n..\r\nb\xc3\xb6dy\r\n" {
		t.Errorf("header %q, body %q", got.header, got.body)
	}
	if got.ReversePath != "A@example.com" || got.Size != 100 || !got.EightBit || !got.ESMTP || !got.Trusted ||
		got.Helo != "client.example.net" || got.TLS != nil || !got.Remote.Addr().IsLoopback() {
		t.Errorf("session %+v", got.Session)
	}
	if diff := cmp.Diff([]envelope.Recipient{{Address: `"b c"@example.org`}, {Address: "postmaster"}}, got.Recipients); diff != "" {
		t.Error(diff)
	}
}

// TestAnySegmentation: how the octets of a session are cut into packets makes no difference.
func TestAnySegmentation(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	content := "A: b\r\n\r\n..x\r\n" + strings.Repeat("y", 3*readBuffer) + "\r\n\r\n.\r\n"
	for size := 1; size < len(content); size = size*2 + 1 {
		p := r.greeted()
		p.begin()
		for rest := content; rest != ""; {
			n := min(size, len(rest))
			if size < 8 && len(rest) > 32 && len(content)-len(rest) > 32 {
				n = len(rest) - 32 // small steps matter at the ends only
			}
			p.send(rest[:n])
			rest = rest[n:]
		}
		p.expect("250 2.0.0")
	}
	for i, m := range r.handler.all() {
		if m.header != "A: b\r\n\r\n" || m.body != ".x\r\n"+strings.Repeat("y", 3*readBuffer)+"\r\n\r\n" {
			t.Fatalf("message %d came with header %q and %d octets of body", i, m.header, len(m.body))
		}
	}
}

func TestHeaderWithoutBlankLineIsGivenOne(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	p := r.greeted()
	for _, content := range []string{"Subject: x\r\n", "", "\r\n"} {
		p.begin()
		p.do(content+".", "250 2.0.0")
	}
	for i, want := range []string{"Subject: x\r\n\r\n", "\r\n", "\r\n"} {
		if m := r.handler.all()[i]; m.header != want || m.body != "" {
			t.Errorf("message %d: header %q, body %q, want header %q", i, m.header, m.body, want)
		}
	}
}

// TestReplies: each script runs on a session of its own, after EHLO.
func TestReplies(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, script := range map[string][]string{
		"no EHLO twice":             {"EHLO again.example", "250 ", "HELO again.example", "250 "},
		"EHLO without a name":       {"EHLO", "501 5.5.4", "EHLO a(b)", "501 5.5.4", "HELO \x01", "501 5.5.4"},
		"commands out of order":     {"RCPT TO:<b@example.org>", "503 5.5.1", "DATA", "503 5.5.1"},
		"second MAIL":               {"MAIL FROM:<>", "250 2.1.0", "MAIL FROM:<>", "503 5.5.1"},
		"DATA without recipients":   {"MAIL FROM:<>", "250 ", "DATA", "554 5.5.1"},
		"parameters of DATA":        {"DATA now", "501 5.5.4"},
		"RSET ends the transaction": {"MAIL FROM:<>", "250 ", "RSET", "250 2.0.0", "RCPT TO:<b@example.org>", "503 5.5.1"},
		"EHLO ends the transaction": {"MAIL FROM:<>", "250 ", "EHLO a.example", "250 ", "DATA", "503 5.5.1"},
		"the rest":                  {"NOOP", "250 2.0.0", "VRFY root", "252 2.5.2", "EXPN x", "500 5.5.1", "noop  ", "250 2.0.0"},
		"no STARTTLS":               {"STARTTLS", "502 5.5.1"},
		"no AUTH":                   {"AUTH PLAIN", "502 5.5.1"},
		"size too large":            {"MAIL FROM:<> SIZE=1048577", "552 5.3.4", "MAIL FROM:<> SIZE=99999999999999999999", "552 5.3.4"},
		"size of the maximum":       {"MAIL FROM:<> SIZE=1048576", "250 2.1.0"},
		"size negative":             {"MAIL FROM:<> SIZE=-1", "501 5.5.4", "MAIL FROM:<> SIZE=", "501 5.5.4"},
		"parameters of MAIL": {
			"MAIL FROM:<> BODY=BINARYMIME", "555 5.5.4", "MAIL FROM:<> REQUIRETLS", "555 5.5.4", "MAIL FROM:<> RET=BODY", "501 5.5.4",
			"MAIL FROM:<> AUTH=<>", "555 5.5.4", "MAIL FROM:<> RET=HDRS RET=HDRS", "501 5.5.4", "MAIL FROM:<> BODY=7bit", "250 "},
		"parameters of RCPT":       {"MAIL FROM:<>", "250 ", "RCPT TO:<b@example.org> NOTIFY=NEVER,DELAY", "501 5.5.4", "RCPT TO:<b@example.org> X=Y", "555 5.5.4"},
		"UTF-8 without SMTPUTF8":   {"MAIL FROM:<\xc3\xbc@example.com>", "553 5.6.7", "MAIL FROM:<>", "250 ", "RCPT TO:<u@b\xc3\xbccher.example>", "553 5.6.7"},
		"UTF-8 that is none":       {"MAIL FROM:<\xc3@example.com> SMTPUTF8", "553 5.1.7", "MAIL FROM:<> SMTPUTF8", "250 ", "RCPT TO:<\xff@b.example>", "553 5.1.3"},
		"malformed MAIL":           {"MAIL", "501 5.5.4", "MAIL a@example.com", "501 5.5.4", "MAIL FROM:a@example.com", "501 5.5.4", "MAIL FROM:<a@example.com", "501 5.5.4", "MAIL FROM:<a@example.com>SIZE=1", "501 5.5.4"},
		"malformed reverse path":   {"MAIL FROM:<a@b@c>", "553 5.1.7", "MAIL FROM:<@a:b@c>", "553 5.1.7", "MAIL FROM:<a@" + long + ">", "553 5.1.7", "MAIL FROM:<\xc3\xbc@example.com>", "553 5.6.7"},
		"malformed recipient":      {"MAIL FROM:<>", "250 ", "RCPT TO:<u@a@b>", "553 5.1.3", "RCPT TO:<@a,@b:u@c>", "553 5.1.3", "RCPT TO:<u>", "553 5.1.3", "RCPT TO:<>", "501 5.5.4", "RCPT TO:<u@exa mple>", "553 5.1.3", "RCPT TO:<" + long + "@c>", "553 5.1.3"},
		"control characters":       {"MAIL FROM:<a\x00@example.com>", "501 5.5.4", "MAIL FROM:<\"a\rb\"@example.com>", "501 5.5.4", "MAIL FROM:<a\t@example.com>", "501 5.5.4"},
		"brackets in a local part": {"MAIL FROM:<>", "250 ", `RCPT TO:<"foo@evil.test> ORCPT=rfc822;z"@good.test>`, "250 2.1.5"},
		"a space before the path":  {"MAIL FROM: <>", "250 2.1.0", "RCPT TO: <b@example.org>", "250 2.1.5"},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, config.ModeRelay, config.TLSNone, nil)
			r.greeted().do(script...)
		})
	}
}

func TestOffers(t *testing.T) {
	for _, test := range []struct {
		mode    config.ListenerMode
		tls     config.TLSMode
		clear   string
		secured string
	}{
		{config.ModeRelay, config.TLSNone, "", ""},
		{config.ModeRelay, config.TLSOpportunistic, "STARTTLS", ""},
		{config.ModeSubmission, config.TLSRequired, "STARTTLS", "AUTH PLAIN LOGIN"},
		{config.ModeSubmission, config.TLSImplicit, "", "AUTH PLAIN LOGIN"},
	} {
		r := serve(t, test.mode, test.tls, nil)
		if test.tls != config.TLSImplicit {
			expectOffers(t, r.greeted(), test.clear)
		}
		if test.tls != config.TLSNone {
			expectOffers(t, r.encrypted(), test.secured)
		}
	}
}

func expectOffers(t *testing.T, p *peer, more string) {
	t.Helper()
	want := "250-mx.example.com\n250-PIPELINING\n250-8BITMIME\n250-ENHANCEDSTATUSCODES\n250-CHUNKING\n250-SMTPUTF8\n250-DSN\n250-MT-PRIORITY\n250 SIZE 1048576"
	if more != "" {
		want = strings.Replace(want, "250 SIZE", "250-SIZE", 1) + "\n250 " + more
	}
	if diff := cmp.Diff(want, p.do("EHLO client.example.net", "250 ")); diff != "" {
		t.Error(diff)
	}
}

// TestErrorsAreReplies: what the Handler says goes to the peer; its own trouble is temporary, always.
func TestErrorsAreReplies(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{errors.New("disk on fire"), "451 4.3.0"},
		{reply.Reply{Code: 550, Enhanced: "5.7.1", Text: "no"}, "550 5.7.1 no"},
		{fmt.Errorf("wrapped: %w", reply.Reply{Code: 452, Enhanced: "4.3.1", Text: "full"}), "452 4.3.1 full"},
		{reply.Reply{Code: 250, Text: "an error that is none"}, "451 4.3.0"},
		{reply.Reply{Code: 550, Enhanced: "5.7.1", Text: "two\r\nlines"}, "550 5.7.1 lines"},
		{reply.Reply{Code: 550, Enhanced: "5.7.1", Text: "\xff\x00\u00fc" + strings.Repeat("x", 1000)}, "550 5.7.1 ???" + strings.Repeat("x", 400)},
	} {
		r := serve(t, config.ModeRelay, config.TLSNone, nil)
		p := r.greeted()
		r.handler.mail = func(*Session) error { return test.err }
		p.do("MAIL FROM:<>", test.want)
		r.handler.mail = nil
		r.handler.rcpt = func(*Session, envelope.Recipient) error { return test.err }
		p.do("MAIL FROM:<>", "250 ", "RCPT TO:<b@example.org>", test.want, "DATA", "554 5.5.1", "RSET", "250 ")
		r.handler.rcpt = nil
		r.handler.data = func(*Session, []byte, io.Reader) (reply.Reply, error) { return reply.Reply{}, test.err }
		p.begin()
		p.do("Subject: x\r\n\r\nnot read\r\nQUIT\r\n.", test.want, "NOOP", "250 2.0.0")
	}
}

func TestHandlerMayReplaceRecipient(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	r.handler.rcpt = func(s *Session, to envelope.Recipient) error {
		if to.Address == "postmaster" {
			s.Recipients = append(s.Recipients, envelope.Recipient{Address: "ops@example.com"})
		}
		return nil
	}
	r.greeted().do("MAIL FROM:<>", "250 ", "RCPT TO:<postmaster>", "250 ", "RCPT TO:<b@example.org>", "250 ", "DATA", "354 ", ".", "250 ")
	if diff := cmp.Diff([]envelope.Recipient{{Address: "ops@example.com"}, {Address: "b@example.org"}}, r.handler.all()[0].Recipients); diff != "" {
		t.Error(diff)
	}
}

// TestSuccessNeedsTheWholeMessage: a Handler that does not read to the end cannot take a message.
func TestSuccessNeedsTheWholeMessage(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	r.handler.data = func(*Session, []byte, io.Reader) (reply.Reply, error) {
		return reply.Reply{Code: 250, Enhanced: "2.0.0", Text: "taken unread"}, nil
	}
	p := r.greeted()
	p.begin()
	p.do("Subject: x\r\n\r\nbody\r\n.", "451 4.3.0")
}

func TestPipelining(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	p := r.greeted()
	p.send("MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
	p.expect("250 2.1.0")
	p.expect("250 2.1.5")
	p.expect("354 ")
	p.send("A: b\r\n\r\n.\r\nMAIL FROM:<>\r\nQUIT\r\n") // commands after the final dot are legal
	p.expect("250 2.0.0")
	p.expect("250 2.1.0")
	p.expect("221 ")
	p.expectEnd()
}

// TestOctetsBehindTheEndOfAGroup: attacks, row 4.
func TestOctetsBehindTheEndOfAGroup(t *testing.T) {
	for _, last := range []string{"EHLO a.example", "DATA", "STARTTLS", "AUTH PLAIN"} {
		r := serve(t, config.ModeSubmission, config.TLSOpportunistic, nil)
		p := r.greeted()
		p.send(last + "\r\nMAIL FROM:<evil@example.com>\r\n")
		p.expect("554 5.5.0")
		p.expectEnd()
	}
}

// TestDeepMIME: attacks, row 22. What we do not read cannot hurt us: it is passed on.
func TestDeepMIME(t *testing.T) {
	var body strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&body, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	p := r.greeted()
	p.begin()
	p.do("Content-Type: multipart/mixed; boundary=b0\r\n\r\n"+body.String()+".", "250 2.0.0")
	if got := r.handler.all()[0].body; got != body.String() {
		t.Errorf("%d octets came, %d went", len(got), body.Len())
	}
}

// TestIPv6: the same, over the other family.
func TestIPv6(t *testing.T) {
	for _, change := range []func(o *Options){nil, strangers, func(o *Options) { behindProxy(o); strangers(o) }} {
		r := serve(t, config.ModeRelay, config.TLSOpportunistic, func(o *Options) {
			if change != nil {
				change(o)
			}
			o.Bind = "::1"
		})
		p, want := r.dial(), "::1"
		if len(r.settings.Load().Listener.ProxyCIDRs) > 0 {
			p.send(header(t, 2, "[2001:db8::8]:4321"))
			want = "2001:db8::8"
		}
		p.expect("220 ")
		p.do("EHLO [IPv6:::1]", "250 ", "STARTTLS", "220 ")
		p.secure(r.tls())
		p.do("EHLO [IPv6:::1]", "250 ", "MAIL FROM:<a@[IPv6:2001:DB8::1]>", "250 ", "RCPT TO:<b@[ipv6:::1]>", "250 ", "RCPT TO:<b@[::1]>", "553 ")
		p.send(chunk("A: b\r\n\r\n", true))
		p.expect("250 2.0.0 queued")
		got := r.handler.all()[0]
		if got.Remote.Addr().String() != want || got.Helo != "[IPv6:::1]" || got.ReversePath != "a@[IPv6:2001:db8::1]" || got.Recipients[0].Address != "b@[IPv6:::1]" {
			t.Errorf("session %+v", got.Session)
		}
	}
}
