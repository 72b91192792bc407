package deliver_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/deliver"
	"github.com/postrider/postrider/relay/route"
	"github.com/postrider/postrider/relay/smtptest"
)

func ehlo(extensions ...string) smtptest.Step {
	lines := []string{"250-peer.test"}
	for _, e := range extensions {
		lines = append(lines, "250-"+e)
	}
	return smtptest.Reply(append(lines, "250 8BITMIME")...)
}

var startTLS = smtptest.Step{Send: "220 go ahead\r\n", StartTLS: true}

func TestBrokenTLSIsFollowedByPlaintextWhenOpportunistic(t *testing.T) {
	for name, answer := range map[string]smtptest.Step{
		"closes":      {Send: "220 go\r\n", Close: true},
		"garbage":     {Send: "220 go\r\n", Endless: "no TLS at all\r\n"},
		"extra bytes": {Send: "220 go\r\n250 injected\r\n", StartTLS: true},
		"talks on":    smtptest.Reply("220 go"),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, smtptest.Script{TLS: smtptest.NewCA().ServerTLS("mx.test"),
				Steps: map[string][]smtptest.Step{"EHLO": {ehlo("STARTTLS")}, "STARTTLS": {answer}}})
			c := newClient(t)
			for range 2 {
				wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "250")
				c.CloseIdle()
			}
			if heard := strings.Join(p.Lines(), " "); strings.Count(heard, "STARTTLS") != 1 || strings.Count(heard, "CONNECT") != 3 {
				t.Errorf("heard %s, want one try at TLS, and none while that is remembered", heard)
			}
			required := hop(p.Port())
			required.TLS = config.HopRequired
			wantReplies(t, do(t, c, mail("a@x.test"), plan(required)), "454 4.7.5")
		})
	}
}

func TestRefusedSTARTTLS(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{
		"EHLO": {ehlo("STARTTLS")}, "STARTTLS": {smtptest.Reply("454 4.7.0 not now")}}})
	h := hop(p.Port())
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(h)), "250")
	h.TLS = config.HopRequired
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(h)), "454 4.7.5 mx.test[127.0.0.1]")
	h.TLS = config.HopNone
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(h)), "250")
	if n := strings.Count(strings.Join(p.Lines(), " "), "STARTTLS"); n != 2 {
		t.Errorf("STARTTLS said %d times", n)
	}
}

func TestRequiredTLSIsVerified(t *testing.T) {
	ca := smtptest.NewCA()
	for name, tc := range map[string]struct {
		sink smtptest.Options
		hop  route.Hop
		want string
	}{
		"right":          {smtptest.Options{TLS: ca.ServerTLS("mx.test")}, route.Hop{RootCAs: ca.Pool()}, "250"},
		"address":        {smtptest.Options{TLS: ca.ServerTLS("127.0.0.1")}, route.Hop{Host: "127.0.0.1", RootCAs: ca.Pool()}, "250"},
		"wrong name":     {smtptest.Options{TLS: ca.ServerTLS("other.test")}, route.Hop{RootCAs: ca.Pool()}, "454 4.7.5"},
		"another CA":     {smtptest.Options{TLS: ca.ServerTLS("mx.test")}, route.Hop{RootCAs: smtptest.NewCA().Pool()}, "454 4.7.5"},
		"system's roots": {smtptest.Options{TLS: ca.ServerTLS("mx.test")}, route.Hop{}, "454 4.7.5"},
		"not offered":    {smtptest.Options{}, route.Hop{RootCAs: ca.Pool()}, "454 4.7.5"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t, tc.sink)
			h := hop(s.Port())
			h.TLS, h.RootCAs = config.HopRequired, tc.hop.RootCAs
			if tc.hop.Host != "" {
				h.Host = tc.hop.Host
			}
			wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(h)), tc.want)
			if m := s.Messages(); tc.want == "250" != (len(m) == 1) || len(m) == 1 && !m[0].TLS {
				t.Errorf("delivered %+v", m)
			}
		})
	}
}

func TestAUTH(t *testing.T) {
	ca := smtptest.NewCA()
	reply := smtptest.Reply
	for name, tc := range map[string]struct {
		mechanisms string
		steps      map[string][]smtptest.Step
		want       string
		heard      []string
	}{
		"PLAIN":      {"AUTH LOGIN plain", nil, "250", []string{"AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00user\x00pass"))}},
		"LOGIN":      {"AUTH LOGIN", map[string][]smtptest.Step{"AUTH": {reply("334 dXNlcg==")}, "dXNlcg==": {reply("334 cGFzcw==")}, "cGFzcw==": {reply("235 ok")}}, "250", []string{"AUTH LOGIN", "dXNlcg==", "cGFzcw=="}},
		"refused":    {"AUTH PLAIN", map[string][]smtptest.Step{"AUTH": {reply("535 5.7.8 wrong")}}, "454 4.7.0 AUTH was answered with: 535 5.7.8 wrong", nil},
		"no LOGIN":   {"AUTH LOGIN", map[string][]smtptest.Step{"AUTH": {reply("504 no")}}, "454 4.7.0", []string{"AUTH LOGIN"}},
		"no common":  {"AUTH GSSAPI", nil, "454 4.7.0", nil},
		"no AUTH":    {"SIZE", nil, "454 4.7.0", nil},
		"TLS broken": {"AUTH PLAIN", map[string][]smtptest.Step{"STARTTLS": {{Send: "220 go\r\n", Close: true}}}, "454 4.7.5", nil},
	} {
		t.Run(name, func(t *testing.T) {
			steps := map[string][]smtptest.Step{"EHLO": {ehlo("STARTTLS", tc.mechanisms)}, "STARTTLS": {startTLS}}
			for key, step := range tc.steps {
				steps[key] = step
			}
			p := newPeer(t, smtptest.Script{Steps: steps, TLS: ca.ServerTLS("mx.test")})
			h := hop(p.Port())
			h.TLS, h.Username, h.Password, h.RootCAs = config.HopRequired, "user", "pass", ca.Pool()
			wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(h)), tc.want)
			heard := strings.Join(p.Lines(), "\n")
			for _, line := range tc.heard {
				if !strings.Contains(heard, "TLS\nEHLO relay.test\n") || !strings.Contains(heard, line) {
					t.Errorf("did not hear %q in %q", line, heard)
				}
			}
			if tc.heard == nil && tc.steps["AUTH"] == nil && strings.Contains(heard, "AUTH") {
				t.Errorf("heard %q", heard)
			}
		})
	}
}

func TestCredentialsAreNotSentInClear(t *testing.T) {
	for _, tls := range []config.HopTLS{config.HopNone, config.HopOpportunistic} {
		p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"EHLO": {ehlo("AUTH PLAIN LOGIN")}}})
		h := hop(p.Port())
		h.TLS, h.Username, h.Password = tls, "user", "pass"
		wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(h)), "454 4.7.0 127.0.0.1")
		if heard := p.Lines(); len(heard) != 2 {
			t.Errorf("%s: heard %q", tls, heard)
		}
	}
}

// TestCredentialsAreForWhomWasVerified: opportunistic TLS may be with anybody, also with who listens on the way.
func TestCredentialsAreForWhomWasVerified(t *testing.T) {
	p := newPeer(t, smtptest.Script{
		Steps: map[string][]smtptest.Step{"EHLO": {ehlo("STARTTLS", "AUTH PLAIN LOGIN")}, "STARTTLS": {startTLS}},
		TLS:   smtptest.NewCA().ServerTLS("elsewhere.test"),
	})
	h := hop(p.Port())
	h.TLS, h.Username, h.Password = config.HopOpportunistic, "user", "pass"
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(h)), "454 4.7.0 127.0.0.1")
	if heard := strings.Join(p.Lines(), "\n"); !strings.Contains(heard, "TLS\nEHLO") || strings.Contains(heard, "AUTH") {
		t.Errorf("heard %q", heard)
	}
}

func TestConnectionsAreReusedOnlyByEqualHops(t *testing.T) {
	ca := smtptest.NewCA()
	s := newSink(t, smtptest.Options{TLS: ca.ServerTLS("mx.test", "other.test")})
	c := newClient(t)
	usual := hop(s.Port())
	required, plain := usual, usual
	required.TLS, required.RootCAs = config.HopRequired, ca.Pool()
	other := required
	other.Host = "other.test"
	plain.TLS = config.HopNone
	hops := []route.Hop{usual, required, other, plain}
	for range 3 {
		for _, h := range hops {
			wantReplies(t, do(t, c, mail("a@x.test"), plan(h)), "250")
		}
	}
	for _, e := range []string{"relay.test", "relay2.test"} {
		c.Do(t.Context(), e, mail("a@x.test"), open, plan(usual))
	}
	if s.Connections() != int64(len(hops)+1) || s.Accepted() != int64(3*len(hops)+2) {
		t.Errorf("%d messages over %d connections", s.Accepted(), s.Connections())
	}
}

func TestAConnectionCarriesAHundredMessages(t *testing.T) {
	s := newSink(t, smtptest.Options{})
	c := newClient(t)
	for range 101 {
		wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(s.Port()))), "250")
	}
	if s.Connections() != 2 {
		t.Errorf("%d connections", s.Connections())
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	p := newPeer(t, smtptest.Script{})
	q := newPeer(t, smtptest.Script{})
	c := deliver.New(deliver.Options{MaxIdle: 1})
	do(t, c, mail("a@x.test"), plan(hop(p.Port())))
	do(t, c, mail("a@x.test"), plan(hop(q.Port()))) // one too many: the older goes
	waitFor(t, p, "QUIT")
	c.CloseIdle()
	waitFor(t, q, "QUIT")
	impatient := deliver.New(deliver.Options{IdleTimeout: 1})
	do(t, impatient, mail("a@x.test"), plan(hop(q.Port())))
	waitFor(t, q, "QUIT QUIT")
}
