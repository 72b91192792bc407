package listener

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

func TestMailParams(t *testing.T) {
	for params, want := range map[string]mailParams{
		"": {}, "SIZE=100": {size: 100}, "size=0": {}, "BODY=8bitmime": {}, "SMTPUTF8": {utf8: true}, "smtputf8 BODY=7BIT": {utf8: true},
		"RET=full": {returns: envelope.ReturnFull}, "RET=HDRS": {returns: envelope.ReturnHeaders},
		"ENVID=QQ314159": {envelopeID: "QQ314159"}, "ENVID=a+20b+2Bc+3D": {envelopeID: "a b+c="},
		"ENVID=" + strings.Repeat("x", 100): {envelopeID: strings.Repeat("x", 100)},
		"AUTH=<>":                           {}, "AUTH=a+40b": {},
	} {
		if got, err := parseMailParams(strings.Fields(params), 1000, true); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", params, got, err, want)
		}
	}
	for params, want := range map[string]string{
		"SIZE=1001": "552 5.3.4", "SIZE=99999999999999999999": "552 5.3.4", "SIZE=-1": "501 5.5.4", "SIZE=+1": "501 5.5.4", "SIZE": "501 5.5.4",
		"SIZE=1 SIZE=1": "501 5.5.4", "size=1 SIZE=1": "501 5.5.4", "BODY=BINARYMIME": "555 5.5.4", "BODY": "555 5.5.4", "SMTPUTF8=yes": "555 5.5.4",
		"RET=": "501 5.5.4", "RET=ALL": "501 5.5.4", "ENVID=": "501 5.5.4", "ENVID=a=b": "501 5.5.4", "ENVID=+": "501 5.5.4", "ENVID=+2": "501 5.5.4",
		"ENVID=+2b": "501 5.5.4", "ENVID=+00": "501 5.5.4", "ENVID=+0A": "501 5.5.4", "ENVID=+0D+0A": "501 5.5.4", "ENVID=+80": "501 5.5.4",
		"ENVID=+7F": "501 5.5.4", "ENVID=+-1": "501 5.5.4", "ENVID=\u00f6": "501 5.5.4", "ENVID=" + strings.Repeat("x", 101): "501 5.5.4",
		"NOTIFY=NEVER": "555 5.5.4", "X": "555 5.5.4", "AUTH=": "555 5.5.4", "=": "555 5.5.4",
	} {
		if _, err := parseMailParams(strings.Fields(params), 1000, true); code(err) != want {
			t.Errorf("%q: %v, want %s", params, err, want)
		}
	}
	if _, err := parseMailParams([]string{"AUTH=<>"}, 1000, false); code(err) != "555 5.5.4" {
		t.Errorf("AUTH where it is not offered: %v", err)
	}
}

func TestRcptParams(t *testing.T) {
	for params, want := range map[string]rcptParams{
		"": {}, "NOTIFY=never": {notify: envelope.NotifyNever},
		"NOTIFY=SUCCESS,delay,FAILURE":       {notify: envelope.NotifySuccess | envelope.NotifyDelay | envelope.NotifyFailure},
		"NOTIFY=DELAY,DELAY":                 {notify: envelope.NotifyDelay},
		"ORCPT=rfc822;a+2Bb@example.com":     {original: "rfc822;a+b@example.com"},
		"ORCPT=x400;/S=x/":                   {},
		"ORCPT=X400;/S+3Dx/":                 {original: "X400;/S=x/"},
		"ORCPT=rfc822;a;b":                   {original: "rfc822;a;b"},
		`ORCPT=utf-8;\x{F6}@x.example`:       {original: "utf-8;\u00f6@x.example"},
		`ORCPT=UTF-8;a\x{2B}b\x{20}@x`:       {original: "UTF-8;a+b @x"},
		`ORCPT=utf-8;\x{1F4EE}@x.example`:    {original: "utf-8;\U0001f4ee@x.example"},
		"ORCPT=utf-8;\u00f6@b\u00fc.example": {original: "utf-8;\u00f6@b\u00fc.example"},
	} {
		got, err := parseRcptParams(strings.Fields(params), true)
		if want == (rcptParams{}) && params != "" {
			if code(err) != "501 5.5.4" {
				t.Errorf("%q: %+v, %v, want 501", params, got, err)
			}
		} else if err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", params, got, err, want)
		}
	}
	for params, want := range map[string]string{
		"NOTIFY=": "501 5.5.4", "NOTIFY=NEVER,FAILURE": "501 5.5.4", "NOTIFY=FAILURE,": "501 5.5.4", "NOTIFY=ALWAYS": "501 5.5.4",
		"NOTIFY=DELAY NOTIFY=DELAY": "501 5.5.4", "ORCPT=": "501 5.5.4", "ORCPT=rfc822": "501 5.5.4", "ORCPT=;a": "501 5.5.4",
		"ORCPT=rfc822;": "501 5.5.4", "ORCPT=rf@c;a": "501 5.5.4", "ORCPT=rfc822;+00": "501 5.5.4", "ORCPT=rfc822;a+0Ab": "501 5.5.4",
		"ORCPT=rfc822;\u00f6@x.example": "501 5.5.4", "ORCPT=rfc822;" + strings.Repeat("x", 494): "501 5.5.4",
		`ORCPT=utf-8;\x{0A}`: "501 5.5.4", `ORCPT=utf-8;\x{85}`: "501 5.5.4", `ORCPT=utf-8;\x{2028}`: "501 5.5.4", `ORCPT=utf-8;\x{D800}`: "501 5.5.4",
		`ORCPT=utf-8;\x{110000}`: "501 5.5.4", `ORCPT=utf-8;\x{}`: "501 5.5.4", `ORCPT=utf-8;\x{F}`: "501 5.5.4", `ORCPT=utf-8;\x{F6`: "501 5.5.4", `ORCPT=utf-8;\xF6`: "501 5.5.4",
		"ORCPT=utf-8;a+2Bb": "501 5.5.4", "ORCPT=utf-8;\xff": "501 5.5.4", "ORCPT=utf-8;": "501 5.5.4",
		"SIZE=1": "555 5.5.4", "NOTIFY": "501 5.5.4",
	} {
		if _, err := parseRcptParams(strings.Fields(params), true); code(err) != want {
			t.Errorf("%q: %v, want %s", params, err, want)
		}
	}
	if _, err := parseRcptParams([]string{"ORCPT=utf-8;\u00f6@x"}, false); code(err) != "501 5.5.4" {
		t.Errorf("UTF-8 in ORCPT without SMTPUTF8: %v", err)
	}
	if p, err := parseRcptParams([]string{`ORCPT=utf-8;\x{F6}@x`}, false); err != nil || p.original != "utf-8;\u00f6@x" {
		t.Errorf("the ASCII form without SMTPUTF8: %+v, %v", p, err)
	}
}

func TestPriorityParameter(t *testing.T) {
	for value, want := range map[string]int{"0": 0, "9": 9, "-9": -9, "4": 4, "-1": -1} {
		p, err := parseMailParams([]string{"mt-priority=" + value}, 1, false)
		if err != nil || p.priority == nil || *p.priority != want {
			t.Errorf("%q: %+v, %v", value, p, err)
		}
	}
	for _, value := range []string{"", "10", "-10", "-0", "+4", "00", "x", "-", "4.0", "4 "} {
		if _, err := parseMailParams([]string{"MT-PRIORITY=" + value}, 1, false); code(err) != "501 5.5.4" {
			t.Errorf("%q: %v, want 501", value, err)
		}
	}
	if p, err := parseMailParams(nil, 1, false); err != nil || p.priority != nil {
		t.Errorf("without it: %+v, %v", p, err)
	}
}

// code is what a reply in err begins with.
func code(err error) string {
	var r reply.Reply
	if !errors.As(err, &r) {
		return ""
	}
	return r.String()[:len("501 5.5.4")]
}

// TestNoticesAreAskedFor: what a client said about notices reaches the Handler, and a new transaction knows nothing
// of the one before.
func TestNoticesAreAskedFor(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, nil)
	p := r.greeted()
	p.do("MAIL FROM:<a@example.com> RET=HDRS ENVID=x+20y", "250 ",
		"RCPT TO:<b@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;bob+2Bx@example.org", "250 ", "RCPT TO:<c@example.org>", "250 ",
		"DATA", "354 ", "Subject: x\r\n\r\n.", "250 ",
		"MAIL FROM:<a@example.com>", "250 ", "RCPT TO:<b@example.org>", "250 ", "DATA", "354 ", "Subject: x\r\n\r\n.", "250 ")
	first, second := r.handler.all()[0], r.handler.all()[1]
	want := []envelope.Recipient{
		{Address: "b@example.org", Notify: envelope.NotifySuccess | envelope.NotifyDelay, Original: "rfc822;bob+x@example.org"},
		{Address: "c@example.org"},
	}
	if diff := cmp.Diff(want, first.Recipients); diff != "" || first.EnvelopeID != "x y" || first.Return != envelope.ReturnHeaders {
		t.Errorf("ENVID %q, RET %q, %s", first.EnvelopeID, first.Return, diff)
	}
	if second.EnvelopeID != "" || second.Return != "" || second.Recipients[0].Notify != 0 || second.Recipients[0].Original != "" {
		t.Errorf("the second transaction: %+v", second.Session)
	}
}

// TestUTF8: the next hop must know SMTPUTF8 only where the message needs it.
func TestUTF8(t *testing.T) {
	for name, test := range map[string]struct {
		from, to, header   string
		parameter, session bool
		address            string
	}{
		"nothing":                  {"a@example.com", "b@example.org", "Subject: x", false, false, "b@example.org"},
		"asked for, not needed":    {"a@example.com", "b@example.org", "Subject: x", true, false, "b@example.org"},
		"domain only":              {"a@b\u00fccher.example", "b@\u4f8b\u5b50.example", "Subject: x", true, false, "b@xn--fsqu00a.example"},
		"sender":                   {"\u00f6@example.com", "b@example.org", "Subject: x", true, true, "b@example.org"},
		"recipient":                {"a@example.com", "o\u0308@example.org", "Subject: x", true, false, "o\u0308@example.org"},
		"header":                   {"a@example.com", "b@example.org", "Subject: \u00f6", true, true, "b@example.org"},
		"eight bits, not asked":    {"a@example.com", "b@example.org", "Subject: \u00f6", false, false, "b@example.org"},
		"the body does not matter": {"a@example.com", "b@example.org", "Subject: x\r\n\r\n\u00f6", true, false, "b@example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, config.ModeRelay, config.TLSNone, nil)
			parameter := ""
			if test.parameter {
				parameter = " SMTPUTF8"
			}
			r.greeted().do("MAIL FROM:<"+test.from+">"+parameter, "250 ", "RCPT TO:<"+test.to+">", "250 ", "DATA", "354 ",
				test.header+"\r\n\r\n.", "250 ")
			got := r.handler.all()[0]
			if got.SMTPUTF8 != test.parameter || got.UTF8 != test.session || got.Recipients[0].Address != test.address {
				t.Errorf("asked %v, needed %v, recipient %q", got.SMTPUTF8, got.UTF8, got.Recipients[0].Address)
			}
		})
	}
}

// FuzzCommand: what is understood of MAIL and RCPT holds nothing that could end a line in a DSN, a log or a command.
func FuzzCommand(f *testing.F) {
	for _, seed := range []string{
		"FROM:<a@example.com> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+20b AUTH=<>", "TO:<b@example.org> NOTIFY=NEVER ORCPT=rfc822;a+2Bb",
		`TO:<"a> b"@example.org> ORCPT=utf-8;\x{F6}@x`, "FROM:<\u00f6@b\u00fccher.example> SMTPUTF8", "TO:<@a,@b:c@d>", "FROM:<", "TO:<a@b>NOTIFY=NEVER",
		"FROM:<> ENVID=+0A", `TO:<"\"`, "FROM: <a@[IPv6:::1]>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, args string) {
		for _, keyword := range []string{"FROM:", "TO:"} {
			path, params, ok := cutPath(args, keyword)
			if !ok {
				continue
			}
			for _, unicode := range []bool{false, true} {
				if address, err := parsePath(path, unicode); err == nil {
					inert(t, address, unicode)
				}
				if p, err := parseRcptParams(params, unicode); err == nil {
					inert(t, p.original, true)
				}
			}
			if p, err := parseMailParams(params, 1<<20, true); err == nil {
				inert(t, p.envelopeID, false)
			} else if code(err) == "" {
				t.Errorf("%q: %v is no reply", args, err)
			}
		}
	})
}

func inert(t *testing.T, s string, mayBeUnicode bool) {
	t.Helper()
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || !mayBeUnicode && envelope.NeedsUTF8(s) {
		t.Errorf("%q came through", s)
	}
}
