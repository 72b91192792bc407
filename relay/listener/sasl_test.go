package listener

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
)

func takesTokens(o *Options) { o.Auth = passwords{holder: "system:serviceaccount:shop:pod"} }

// TestTokens: OAUTHBEARER (RFC 7628) and XOAUTH2. A refusal is told in a challenge first, which the client answers.
func TestTokens(t *testing.T) {
	const invalid, stop = `{"status":"invalid_token"}`, `{"status":"401","schemes":"bearer"}`
	right := b64("n,a=pod,\x01host=mx.example.com\x01port=587\x01auth=Bearer right\x01\x01")
	wrong := b64("n,a=pod,\x01auth=Bearer wrong\x01\x01")
	for name, script := range map[string][]string{
		"OAUTHBEARER":                   {"AUTH OAUTHBEARER " + right, "235 2.7.0", "MAIL FROM:<>", "250 2.1.0"},
		"OAUTHBEARER in two steps":      {"AUTH oauthbearer", "334 ", right, "235 2.7.0"},
		"without a name":                {"AUTH OAUTHBEARER " + b64("y,,\x01auth=bearer right\x01\x01"), "235 2.7.0"},
		"a quoted name":                 {"AUTH OAUTHBEARER " + b64("n,a=p=2C=3Dd,\x01auth=Bearer right\x01\x01"), "235 2.7.0"},
		"another's name":                {"AUTH OAUTHBEARER " + b64("n,a=bob,\x01auth=Bearer right\x01\x01"), "334 " + b64(invalid), "AQ==", "535 5.7.8"},
		"XOAUTH2":                       {"AUTH XOAUTH2 " + b64("user=pod\x01auth=Bearer right\x01\x01"), "235 2.7.0"},
		"a wrong token":                 {"AUTH OAUTHBEARER " + wrong, "334 " + b64(invalid), "AQ==", "535 5.7.8", "MAIL FROM:<>", "530 5.7.0"},
		"a wrong token, and bad base64": {"AUTH OAUTHBEARER " + wrong, "334 ", "%", "535 5.7.8"},
		"a wrong token, cancelled":      {"AUTH OAUTHBEARER " + wrong, "334 ", "*", "535 5.7.8"},
		"a wrong token by XOAUTH2":      {"AUTH XOAUTH2 " + b64("user=pod\x01auth=Bearer wrong\x01\x01"), "334 " + b64(stop), "", "535 5.7.8"},
		"trouble of our own":            {"AUTH OAUTHBEARER " + b64("n,a=busy,\x01auth=Bearer x\x01\x01"), "454 4.7.0"},
		"channel binding":               {"AUTH OAUTHBEARER " + b64("p=tls-exporter,,\x01auth=Bearer right\x01\x01"), "501 5.5.2"},
		"another header":                {"AUTH OAUTHBEARER " + b64("n,b=pod,\x01auth=Bearer right\x01\x01"), "501 5.5.2"},
		"no end":                        {"AUTH OAUTHBEARER " + b64("n,,\x01auth=Bearer right\x01"), "501 5.5.2"},
		"no token":                      {"AUTH OAUTHBEARER " + b64("n,,\x01auth=Bearer \x01\x01"), "501 5.5.2", "AUTH OAUTHBEARER " + b64("n,,\x01host=a\x01\x01"), "501 5.5.2"},
		"another scheme":                {"AUTH OAUTHBEARER " + b64("n,,\x01auth=Basic right\x01\x01"), "501 5.5.2"},
		"XOAUTH2 without a user":        {"AUTH XOAUTH2 " + b64("auth=Bearer right\x01\x01"), "501 5.5.2"},
		"cancelled":                     {"AUTH XOAUTH2", "334 ", "*", "501 5.5.2"},
		"a password as a token":         {"AUTH OAUTHBEARER " + b64("n,a=alice,\x01auth=Bearer secret\x01\x01"), "334 ", "AQ==", "535 5.7.8"},
		"passwords still":               {"AUTH PLAIN " + b64("\x00alice\x00secret"), "235 2.7.0"},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, config.ModeSubmission, config.TLSRequired, takesTokens).encrypted().do(script...)
		})
	}
}

// TestTokenGuessingEnds: tokens cost as many tries as passwords.
func TestTokenGuessingEnds(t *testing.T) {
	p := serve(t, config.ModeSubmission, config.TLSImplicit, takesTokens).encrypted()
	for range maxAuthFailures {
		p.do("AUTH XOAUTH2 "+b64("user=pod\x01auth=Bearer wrong\x01\x01"), "334 ", "", "535 5.7.8")
	}
	p.expect("421 4.7.0")
	p.expectEnd()
}

// TestTokenNames: who a token proves is not what the client says, and the mechanisms are for listeners that take some.
func TestTokenNames(t *testing.T) {
	r := serve(t, config.ModeSubmission, config.TLSImplicit, takesTokens)
	p := r.encrypted()
	p.do("EHLO a.example", "250 AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2",
		"AUTH XOAUTH2 "+b64("user=pod\x01auth=Bearer right\x01\x01"), "235 ")
	p.begin()
	p.do("Subject: x\r\n\r\n.", "250 ")
	if got := r.handler.all()[0].User; got != "system:serviceaccount:shop:pod" {
		t.Errorf("user %q", got)
	}
	serve(t, config.ModeSubmission, config.TLSImplicit, nil).encrypted().
		do("AUTH OAUTHBEARER", "504 5.5.4 Offered are PLAIN, LOGIN", "AUTH XOAUTH2", "504 5.5.4")
}

// TestLongAuthLines: a token is long. The lines of AUTH may be, and no others.
func TestLongAuthLines(t *testing.T) {
	long := func(command string, line int) string {
		const frame = "user=pod\x01auth=Bearer right\x01\x01"
		room := (line - len(command) - len("\r\n")) / 4 * 3
		return command + b64("user=pod\x01auth=Bearer right"+strings.Repeat("x", room-len(frame))+"\x01\x01")
	}
	for name, script := range map[string][]string{
		"with the command": {long("AUTH XOAUTH2 ", maxAuthLine), "235 "},
		"after it":         {"AUTH XOAUTH2", "334 ", long("", maxAuthLine), "235 "},
		"too long":         {long("AUTH XOAUTH2 ", maxAuthLine+8), "500 5.5.2"},
		"too long after":   {"AUTH XOAUTH2", "334 ", long("", maxAuthLine+8), "500 5.5.2"},
		"another command":  {"NOOP " + strings.Repeat("x", maxLine-len("NOOP \r\n")), "250 ", "NOOP " + strings.Repeat("x", maxLine-len("NOOP \r\n")+1), "500 5.5.2"},
		"almost AUTH":      {"AUTHX " + strings.Repeat("x", maxLine), "500 5.5.2"},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, config.ModeSubmission, config.TLSImplicit, takesTokens).encrypted().do(script...)
		})
	}
}
