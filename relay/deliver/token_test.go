package deliver_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/route"
	"github.com/postrider/postrider/relay/smtptest"
)

// tokens hands out the first of what is left until it is told to forget it.
type tokens struct {
	left   []string
	forgot []string
}

func (s *tokens) Token(context.Context) (string, error) {
	if len(s.left) == 0 {
		return "", errors.New("the token server is away")
	}
	return s.left[0], nil
}

func (s *tokens) Forget(token string) {
	s.forgot = append(s.forgot, token)
	s.left = slices.DeleteFunc(s.left, func(other string) bool { return other == token })
}

// bearers offers all mechanisms and knows one token.
func bearers(t *testing.T, ca *smtptest.CA, good string) *smtptest.Sink {
	return newSink(t, smtptest.Options{TLS: ca.ServerTLS("mx.test"), Auth: func(mechanism, user, secret string) bool {
		return mechanism == "XOAUTH2" && user == "user" && secret == good
	}})
}

func withTokens(port int, ca *smtptest.CA, source route.TokenSource) route.Hop {
	h := hop(port)
	h.TLS, h.RootCAs, h.Username, h.Password, h.Tokens = config.HopRequired, ca.Pool(), "user", "unused", source
	return h
}

func TestXOAUTH2(t *testing.T) {
	ca := smtptest.NewCA()
	for name, tc := range map[string]struct {
		source *tokens
		want   string
		forgot []string
	}{
		"good":           {&tokens{left: []string{"good"}}, "250 2.0.0 kept", nil},
		"revoked":        {&tokens{left: []string{"old", "good"}}, "250 2.0.0 kept", []string{"old"}},
		"refreshed once": {&tokens{left: []string{"old", "older", "good"}}, "454 4.7.0 AUTH was answered with: 535 5.7.8 wrong", []string{"old", "older"}},
		"no token":       {&tokens{}, "454 4.7.0 127.0.0.1", nil},
		"none any more":  {&tokens{left: []string{"old"}}, "454 4.7.0 127.0.0.1", []string{"old"}},
	} {
		s := bearers(t, ca, "good")
		c := newClient(t)
		wantReplies(t, do(t, c, mail("a@x.test"), plan(withTokens(s.Port(), ca, tc.source))), tc.want)
		if got := tc.source.forgot; !slices.Equal(got, tc.forgot) {
			t.Errorf("%s: forgot %q", name, got)
		}
		if m := s.Messages(); (tc.want[0] == '2') != (len(m) == 1) || len(m) == 1 && m[0].User != "user" {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestATokenIsNotForgottenForPassingTrouble(t *testing.T) {
	ca := smtptest.NewCA()
	p := newPeer(t, smtptest.Script{TLS: ca.ServerTLS("mx.test"), Steps: map[string][]smtptest.Step{
		"EHLO": {ehlo("STARTTLS", "AUTH XOAUTH2")}, "STARTTLS": {startTLS}, "AUTH": {smtptest.Reply("454 4.7.0 busy")}}})
	source := &tokens{left: []string{"t"}}
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(withTokens(p.Port(), ca, source))), "454 4.7.0 AUTH was answered with: 454")
	want := "AUTH XOAUTH2 " + base64.StdEncoding.EncodeToString([]byte("user=user\x01auth=Bearer t\x01\x01"))
	if heard := p.Lines(); heard[len(heard)-1] != want || source.forgot != nil {
		t.Errorf("heard %q, forgot %q", heard, source.forgot)
	}
}

func TestTokensAreShownToNobodyElse(t *testing.T) {
	ca := smtptest.NewCA()
	for name, tc := range map[string]struct {
		tls        config.HopTLS
		extensions []string
	}{
		"without TLS":     {config.HopNone, []string{"AUTH XOAUTH2 PLAIN"}},
		"TLS not offered": {config.HopOpportunistic, []string{"AUTH XOAUTH2"}},
		"not offered":     {config.HopRequired, []string{"STARTTLS", "AUTH PLAIN LOGIN"}},
	} {
		p := newPeer(t, smtptest.Script{TLS: ca.ServerTLS("mx.test"), Steps: map[string][]smtptest.Step{
			"EHLO": {ehlo(tc.extensions...)}, "STARTTLS": {startTLS}}})
		h := withTokens(p.Port(), ca, &tokens{left: []string{"t"}})
		h.TLS = tc.tls
		wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(h)), "454 4.7.0 127.0.0.1")
		if heard := fmt.Sprint(p.Lines()); strings.Contains(heard, "AUTH") || strings.Contains(heard, "MAIL") {
			t.Errorf("%s: heard %s", name, heard)
		}
	}
}

func TestTokensAreCredentialsOfAConnection(t *testing.T) {
	ca := smtptest.NewCA()
	s := bearers(t, ca, "good")
	c := newClient(t)
	one, other := &tokens{left: []string{"good"}}, &tokens{left: []string{"good"}}
	h := withTokens(s.Port(), ca, one)
	for _, h.Tokens = range []route.TokenSource{one, one, other, other} {
		wantReplies(t, do(t, c, mail("a@x.test"), plan(h)), "250")
	}
	if s.Connections() != 2 {
		t.Errorf("%d connections", s.Connections())
	}
}
