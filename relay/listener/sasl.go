package listener

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
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

// isOfExchange says that an exchange was ended by what the peer said, and not by the connection.
func isOfExchange(err error) bool {
	return errors.Is(err, errCancelled) || errors.Is(err, errEncoding) || errors.Is(err, errForm)
}

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
type credentials struct {
	identity, user, password string
	// token says that password is a bearer token, and nothing else.
	token bool
}

// mechanism reads the credentials of one SASL mechanism.
type mechanism struct {
	name string
	read func(s *session, initial string) (credentials, error)
	// failure is what is said in a challenge before a refusal, where the mechanism wants that; empty for nothing.
	failure string
}

// mechanisms are those that the listener offers, by name.
func (s *session) mechanisms() []string {
	var names []string
	for _, m := range s.offered() {
		names = append(names, m.name)
	}
	return names
}

func (s *session) offered() []mechanism {
	offered := []mechanism{{name: "PLAIN", read: (*session).plain}, {name: "LOGIN", read: (*session).login}}
	if s.settings.Auth.TakesTokens() {
		offered = append(offered,
			mechanism{name: "OAUTHBEARER", read: (*session).oauthBearer, failure: `{"status":"invalid_token"}`},
			mechanism{name: "XOAUTH2", read: (*session).xoauth2, failure: `{"status":"401","schemes":"bearer"}`})
	}
	return offered
}

func (s *session) authenticate(ctx context.Context, name, initial string) error {
	offered := s.offered()
	at := slices.IndexFunc(offered, func(m mechanism) bool { return m.name == name })
	if at < 0 {
		s.say(504, "5.5.4", "Offered are %s", strings.Join(s.mechanisms(), ", "))
		return nil
	}
	m := offered[at]
	c, err := m.read(s, initial)
	switch {
	case isOfExchange(err):
		s.say(501, "5.5.2", "Authentication failed: %s", err)
		return nil
	case err != nil:
		return s.readFailed(err)
	}
	return s.check(ctx, c, m.failure)
}

// check asks whether the credentials are right.
func (s *session) check(ctx context.Context, c credentials, failure string) error {
	if c.identity != "" && c.identity != c.user {
		return s.authFailed(ctx, reply.Reply{Code: 535, Enhanced: "5.7.8", Text: "Nobody may act as another"})
	}
	prove := s.settings.Auth.Password
	if c.token {
		prove = s.settings.Auth.Token
	}
	who, err := prove(ctx, c.user, c.password)
	if err != nil {
		r := s.replyOf(err)
		s.log.Warn("authentication failed", "user", c.user, "error", err)
		if failure != "" && r.Code >= 500 {
			if _, err := s.response(failure, ""); err != nil && !isOfExchange(err) {
				return s.readFailed(err)
			}
		}
		return s.authFailed(ctx, r)
	}
	s.who, s.User, s.UID = who, who.Name, who.UID
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
	return credentials{identity: parts[0], user: parts[1], password: parts[2]}, nil
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

// oauthBearer is RFC 7628: a header that may name whom to act as, and fields of which one holds the token.
func (s *session) oauthBearer(initial string) (credentials, error) {
	message, err := s.response("", initial)
	if err != nil {
		return credentials{}, err
	}
	header, fields, _ := strings.Cut(message, "\x01")
	parts := strings.Split(header, ",")
	if len(parts) != 3 || parts[0] != "n" && parts[0] != "y" || parts[2] != "" {
		return credentials{}, errForm // channel binding is not offered (RFC 5801 §4)
	}
	name, named := strings.CutPrefix(parts[1], "a=")
	if !named && name != "" {
		return credentials{}, errForm
	}
	c := credentials{user: saslName.Replace(name), token: true}
	c.password, err = bearer(fields)
	return c, err
}

// saslName undoes the quoting of a name (RFC 5801 §4).
var saslName = strings.NewReplacer("=2C", ",", "=3D", "=")

// xoauth2 is the mechanism of that name, which Google and Microsoft made and many clients know.
func (s *session) xoauth2(initial string) (credentials, error) {
	message, err := s.response("", initial)
	if err != nil {
		return credentials{}, err
	}
	user, fields, _ := strings.Cut(message, "\x01")
	user, ok := strings.CutPrefix(user, "user=")
	if !ok {
		return credentials{}, errForm
	}
	c := credentials{user: user, token: true}
	c.password, err = bearer(fields)
	return c, err
}

// bearer is the token in fields KEY=VALUE, each of which ends in 0x01, with one more 0x01 at the end (RFC 7628 §3.1).
func bearer(fields string) (string, error) {
	fields, ok := strings.CutSuffix(fields, "\x01\x01")
	if !ok {
		return "", errForm
	}
	for field := range strings.SplitSeq(fields, "\x01") {
		value, ok := strings.CutPrefix(field, "auth=")
		if !ok {
			continue
		}
		scheme, token, _ := strings.Cut(value, " ")
		if token = strings.TrimSpace(token); strings.EqualFold(scheme, "Bearer") && token != "" {
			return token, nil
		}
		return "", errForm
	}
	return "", errForm
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
