//go:build e2e

package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/test/kubetest"
)

// account is a ServiceAccount that every scenario about tokens has, in its namespace and in another.
const account = "checkout"

// takeTokens makes the scenario's listeners take tokens, and lets the account send as its domain.
const (
	takeTokens = `[{"op": "add", "path": "/spec/listeners/1/auth/serviceAccounts", "value": {}}]`
	letAccount = `[{"op": "add", "path": "/spec/senders/-", "value": {"serviceAccount": {"name": "` + account + `"}}}]`
)

// A pod sends with the token of its ServiceAccount, and with no token that is not for this relay, in time, and of an
// account that may send and is still there.
func TestServiceAccountTokens(t *testing.T) {
	s := newSetup(t, "tokens", options{})
	other := namespace(t, "tokens-other")
	for _, ns := range []string{s.namespace, other} {
		must(t)(kubectl("create", "serviceaccount", account, "-n", ns))
	}
	must(t)(kubectl("patch", "mailrelay", relayName, "-n", s.namespace, "--type=json", "-p", takeTokens))
	must(t)(kubectl("patch", "sendingdomain", "sender", "-n", s.namespace, "--type=json", "-p", letAccount))

	audience := "postrider.dev/" + s.namespace + "/" + relayName
	good := token(t, s.namespace, "--audience="+audience)
	eventually(t, 20*time.Second, "the account may send", func() error { return s.submit(s.domain, sasl.NewPlainClient("", account, good)) })
	bearer := sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: account, Token: good})
	if err := s.submit(s.domain, bearer); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "delivered", func() error { return s.delivered(2) })
	if err := s.submit("elsewhere.test", sasl.NewPlainClient("", account, good)); codeOf(err) != 550 {
		t.Errorf("as another domain: %v", err)
	}

	stranger := token(t, other, "--audience="+audience)
	for what, wrong := range map[string]string{
		"for another relay":                token(t, s.namespace, "--audience="+audience+"2"),
		"for the API server":               token(t, s.namespace),
		"for the API server, too":          token(t, s.namespace, "--audience="+audience, "--audience=https://kubernetes.default.svc"),
		"expired":                          aged(t, good, 2*time.Hour, time.Hour),
		"good for two days":                aged(t, good, time.Hour, 48*time.Hour),
		"of another namespace":             aged(t, stranger, 5*time.Minute, time.Hour),
		"with a signature that is another": good[:strings.LastIndexByte(good, '.')] + stranger[strings.LastIndexByte(stranger, '.'):],
	} {
		if err := s.refuses(wrong); err != nil {
			t.Errorf("a token %s: %v", what, err)
		}
	}
	if err := s.submit(s.domain, sasl.NewPlainClient("", account, stranger)); codeOf(err) != 454 {
		t.Errorf("a fresh token of another namespace, whose account may be new: %v", err)
	}

	older := aged(t, good, 5*time.Minute, time.Hour)
	if err := s.submit(s.domain, sasl.NewPlainClient("", account, older)); err != nil {
		t.Fatal(err)
	}
	must(t)(kubectl("delete", "serviceaccount", account, "-n", s.namespace))
	eventually(t, 20*time.Second, "the deleted account may not send", func() error { return s.refuses(older) })
	must(t)(kubectl("create", "serviceaccount", account, "-n", s.namespace))
	again := token(t, s.namespace, "--audience="+audience)
	eventually(t, 20*time.Second, "the account that was made again may", func() error {
		return s.submit(s.domain, sasl.NewPlainClient("", account, again))
	})
	if err := s.refuses(older); err != nil {
		t.Errorf("the token of the account before: %v", err)
	}
	eventually(t, 20*time.Second, "delivered", func() error { return s.delivered(4) })
}

// token is a real one, as the kubelet projects it into a pod.
func token(t *testing.T, namespace string, flags ...string) string {
	t.Helper()
	out := must(t)(kubectl(append([]string{"create", "token", account, "-n", namespace, "--duration=1h"}, flags...)...))
	return strings.TrimSpace(out)
}

// aged is a token as the API server would have made it some time ago, signed with its own key.
func aged(t *testing.T, token string, ago, life time.Duration) string {
	t.Helper()
	issued := time.Now().Add(-ago)
	made, err := kubetest.Resign(token, filepath.Join(world.cluster, "pki", "service-accounts.key"), map[string]any{
		"iat": issued.Unix(), "nbf": issued.Unix(), "exp": issued.Add(life).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// authenticated is a session over STARTTLS, with the reply to AUTH as its error.
func (s setup) authenticated(credentials sasl.Client) (*smtp.Client, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(s.address, "587"), 5*time.Second)
	if err != nil {
		return nil, err
	}
	c, err := smtp.NewClientStartTLS(conn, &tls.Config{RootCAs: world.ca.Pool(), ServerName: s.hostname})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := c.Auth(credentials); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("AUTH: %w", err)
	}
	return c, nil
}

// submit sends a message as a domain.
func (s setup) submit(domain string, credentials sasl.Client) error {
	c, err := s.authenticated(credentials)
	if err != nil {
		return err
	}
	defer c.Close()
	text := fmt.Sprintf("From: sender@%[1]s\r\nTo: recipient@%[2]s\r\nSubject: from a pod\r\n\r\nNo password was needed.\r\n", domain, s.to)
	if err := c.SendMail("sender@"+domain, []string{"recipient@" + s.to}, strings.NewReader(text)); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return nil
}

// refuses wants a token to be refused for good.
func (s setup) refuses(token string) error {
	c, err := s.authenticated(sasl.NewPlainClient("", account, token))
	switch {
	case err == nil:
		return errors.Join(errors.New("it is taken"), c.Close())
	case codeOf(err) != 535:
		return err
	}
	return nil
}

// codeOf is the code of the reply that an error is about; 0 for none.
func codeOf(err error) int {
	var refused *smtp.SMTPError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return 0
}
