package listener

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/reply"
)

// maxAuthFailures is how many wrong passwords a session may try.
const maxAuthFailures = 3

// Why an AUTH exchange ended without credentials.
var (
	errCancelled = errors.New("cancelled")
	errEncoding  = errors.New("not base64")
	errForm      = errors.New("not of the mechanism's form")
)

// auth is RFC 4954.
func (s *session) auth(ctx context.Context, args string) error {
	switch {
	case s.pipelined():
		return s.refusePipelining()
	case s.Helo == "":
		s.say(503, "5.5.1", "Say EHLO first")
	case !s.offersAuth():
		s.say(502, "5.5.1", "AUTH is not offered")
	case s.TLS == nil:
		s.say(538, "5.7.11", "Encryption required for this mechanism")
	case s.User != "":
		s.say(503, "5.5.1", "You are authenticated already")
	case s.mail:
		s.say(503, "5.5.1", "Not within a transaction")
	default:
		mechanism, initial, _ := strings.Cut(args, " ")
		return s.authenticate(ctx, strings.ToUpper(mechanism), initial)
	}
	return nil
}

// credentials of an exchange. Identity is whom to act as; nobody may act as another.
type credentials struct{ identity, user, password string }

func (s *session) authenticate(ctx context.Context, mechanism, initial string) error {
	var c credentials
	var err error
	switch mechanism {
	case "PLAIN":
		c, err = s.plain(initial)
	case "LOGIN":
		c, err = s.login(initial)
	default:
		s.say(504, "5.5.4", "PLAIN and LOGIN are offered")
		return nil
	}
	switch {
	case errors.Is(err, errCancelled) || errors.Is(err, errEncoding) || errors.Is(err, errForm):
		s.say(501, "5.5.2", "Authentication failed: %s", err)
		return nil
	case err != nil:
		return s.readFailed(err)
	}
	return s.check(ctx, c)
}

// check asks whether the credentials are right.
func (s *session) check(ctx context.Context, c credentials) error {
	if c.identity != "" && c.identity != c.user {
		return s.authFailed(ctx, reply.Reply{Code: 535, Enhanced: "5.7.8", Text: "Nobody may act as another"})
	}
	if err := s.settings.Auth.Check(ctx, c.user, c.password); err != nil {
		r := s.replyOf(err)
		s.log.Warn("authentication failed", "user", c.user, "reply", r.String())
		return s.authFailed(ctx, r)
	}
	s.User = c.user
	s.say(235, "2.7.0", "Welcome")
	return nil
}

// authFailed answers a failure: a wrong guess each time later, and one too many with the end.
func (s *session) authFailed(ctx context.Context, r reply.Reply) error {
	s.authFailures++
	if r.Code >= 500 {
		select {
		case <-time.After(time.Duration(s.authFailures) * s.listener.options.AuthDelay):
		case <-ctx.Done():
		}
	}
	s.reply(r)
	if s.authFailures < maxAuthFailures {
		return nil
	}
	s.say(421, "4.7.0", "%s Too many failures", s.settings.Hostname)
	return errEnd
}

// plain is RFC 4616: identity NUL user NUL password.
func (s *session) plain(initial string) (credentials, error) {
	message, err := s.response("", initial)
	if err != nil {
		return credentials{}, err
	}
	parts := strings.Split(message, "\x00")
	if len(parts) != 3 || parts[1] == "" {
		return credentials{}, errForm
	}
	return credentials{parts[0], parts[1], parts[2]}, nil
}

// login is the mechanism LOGIN, which was never more than a draft: two questions.
func (s *session) login(initial string) (credentials, error) {
	user, err := s.response("Username:", initial)
	if err != nil {
		return credentials{}, err
	}
	password, err := s.response("Password:", "")
	if err != nil {
		return credentials{}, err
	}
	if user == "" {
		return credentials{}, errForm
	}
	return credentials{user: user, password: password}, nil
}

// response is the peer's answer to a challenge, or the initial one that it gave with the command ("=" is empty).
func (s *session) response(challenge, initial string) (string, error) {
	if initial == "" {
		s.say(334, "", "%s", base64.StdEncoding.EncodeToString([]byte(challenge)))
		line, err := s.readLine(maxAuthLine)
		switch {
		case err != nil:
			return "", err
		case line == "*":
			return "", errCancelled
		}
		initial = line
	}
	if initial == "=" {
		return "", nil
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(initial)
	if err != nil {
		return "", errEncoding
	}
	return string(decoded), nil
}
