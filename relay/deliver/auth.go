package deliver

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/postrider/postrider/relay/reply"
)

// authenticate says who we are, when there are credentials: with PLAIN (RFC 4616), else LOGIN. Its failures are the
// host's and never final: they tell of our configuration, not of the message.
func (s *conn) authenticate() error {
	if s.key.username == "" {
		return nil
	}
	mechanisms := strings.Fields(strings.ToUpper(s.extensions["AUTH"]))
	switch {
	case s.tls == "":
		return notAuthenticated("%s: credentials are not sent without TLS", s.key.addr)
	case slices.Contains(mechanisms, "PLAIN"):
		return s.authPlain()
	case slices.Contains(mechanisms, "LOGIN"):
		return s.authLogin()
	default:
		return notAuthenticated("%s offers neither AUTH PLAIN nor LOGIN", s.key.addr)
	}
}

func (s *conn) authPlain() error {
	secret := encode("\x00" + s.key.username + "\x00" + s.key.password)
	answer, err := s.ask(s.timeouts.Hello, "AUTH", "AUTH PLAIN "+secret)
	return authenticated(answer, err)
}

func (s *conn) authLogin() error {
	answer, err := s.ask(s.timeouts.Hello, "AUTH", "AUTH LOGIN")
	for _, secret := range []string{s.key.username, s.key.password} {
		if err != nil || answer.Code != 334 {
			return authenticated(answer, err)
		}
		answer, err = s.ask(s.timeouts.Hello, "AUTH", encode(secret))
	}
	return authenticated(answer, err)
}

func authenticated(answer reply.Reply, err error) error {
	if err == nil && answer.Class() != reply.Success {
		return notAuthenticated("AUTH was answered with: %s", answer)
	}
	return err
}

func notAuthenticated(format string, args ...any) error {
	return failure{reply: reply.Reply{Code: 454, Enhanced: "4.7.0", Text: fmt.Sprintf(format, args...)}}
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
