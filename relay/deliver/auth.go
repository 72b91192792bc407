package deliver

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/postrider/postrider/relay/reply"
)

// authenticate says who we are, when there are credentials: with XOAUTH2 when these are tokens, else with PLAIN
// (RFC 4616), else LOGIN. Only a host that has proven its name is shown them. Its failures are the host's and never final: they tell of our configuration, not of the
// message.
func (s *conn) authenticate(ctx context.Context) error {
	if s.key.username == "" && s.key.tokens == nil {
		return nil
	}
	mechanisms := strings.Fields(strings.ToUpper(s.extensions["AUTH"]))
	switch {
	case s.tls == "" || s.key.verified == "":
		return notAuthenticated("%s: credentials are not sent without verified TLS", s.key.addr)
	case s.key.tokens != nil && slices.Contains(mechanisms, "XOAUTH2"):
		return s.authToken(ctx)
	case s.key.tokens != nil:
		return notAuthenticated("%s does not offer AUTH XOAUTH2", s.key.addr)
	case slices.Contains(mechanisms, "PLAIN"):
		return s.authPlain()
	case slices.Contains(mechanisms, "LOGIN"):
		return s.authLogin()
	default:
		return notAuthenticated("%s offers neither AUTH PLAIN nor LOGIN", s.key.addr)
	}
}

// authToken authenticates by an access token. One that is refused may have been revoked: it is forgotten, and the
// next is tried, once.
func (s *conn) authToken(ctx context.Context) error {
	for try := 1; ; try++ {
		token, err := s.key.tokens.Token(ctx)
		if err != nil {
			return notAuthenticated("%s: get an access token: %v", s.key.addr, err)
		}
		answer, err := s.bear(token)
		if err != nil || answer.Class() != reply.Permanent {
			return authenticated(answer, err)
		}
		s.key.tokens.Forget(token)
		if try > 1 {
			return authenticated(answer, nil)
		}
	}
}

// bear shows a token. A server that refuses it says why in a challenge, whose only answer is an empty line.
func (s *conn) bear(token string) (reply.Reply, error) {
	secret := encode("user=" + s.key.username + "\x01auth=Bearer " + token + "\x01\x01")
	answer, err := s.ask(s.timeouts.Hello, "AUTH", "AUTH XOAUTH2 "+secret)
	if err == nil && answer.Code == 334 {
		return s.ask(s.timeouts.Hello, "AUTH", "")
	}
	return answer, err
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
