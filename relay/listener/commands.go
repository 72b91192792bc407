package listener

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
)

// obey carries out one command. An error ends the session; what the peer did wrong is a reply.
func (s *session) obey(ctx context.Context, verb, args string) error {
	switch verb {
	case "EHLO", "HELO":
		return s.hello(verb, args)
	case "STARTTLS":
		return s.startTLS(ctx, args)
	case "AUTH":
		return s.auth(ctx, args)
	case "MAIL":
		s.mailFrom(ctx, args)
	case "RCPT":
		s.rcptTo(ctx, args)
	case "DATA":
		return s.data(ctx, args)
	case "RSET":
		s.idlers++
		s.reset()
		s.say(250, "2.0.0", "OK")
	case "NOOP":
		s.idlers++
		s.say(250, "2.0.0", "OK")
	case "VRFY":
		s.idlers++
		s.say(252, "2.5.2", "Send some mail and see")
	case "QUIT":
		s.say(221, "2.0.0", "Bye")
		return errEnd
	default:
		return s.unknown(verb)
	}
	return nil
}

// unknown refuses a command. Where what follows is not SMTP, or would be the octets of a chunk, it goes no further.
func (s *session) unknown(verb string) error {
	switch verb {
	case "BDAT":
		s.say(502, "5.5.1", "CHUNKING is not offered")
		s.linger()
		return errEnd
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH":
		s.say(554, "5.5.0", "This is not HTTP")
		s.linger()
		return errEnd
	}
	s.say(500, "5.5.1", "Unknown command")
	return nil
}

// hello begins the session anew (RFC 5321 §4.1.4).
func (s *session) hello(verb, name string) error {
	if s.pipelined() {
		return s.refusePipelining()
	}
	if !isHelloName(name) {
		s.say(501, "5.5.4", "Say %s and your host name", verb)
		return nil
	}
	s.reset()
	s.Helo, s.ESMTP = name, verb == "EHLO"
	if s.ESMTP {
		s.say(250, "", "%s", strings.Join(append([]string{s.settings.Hostname}, s.extensions()...), "\n"))
	} else {
		s.say(250, "", "%s", s.settings.Hostname)
	}
	return nil
}

// extensions are those in force: none that is not kept.
func (s *session) extensions() []string {
	offers := []string{
		"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES",
		"SIZE " + strconv.FormatInt(s.settings.MaxBytes, 10),
	}
	if s.offersTLS() && s.listener.certificate.usable() {
		offers = append(offers, "STARTTLS")
	}
	if s.offersAuth() && s.TLS != nil && s.User == "" {
		offers = append(offers, "AUTH PLAIN LOGIN")
	}
	return offers
}

func (s *session) offersTLS() bool {
	return s.TLS == nil && s.Listener.TLS != config.TLSNone
}

func (s *session) offersAuth() bool {
	return s.Listener.Mode == config.ModeSubmission && s.settings.Auth != nil
}

// isHelloName says whether the argument of EHLO can stand in a trace field: the characters of domain names and
// address literals. Being stricter would refuse many a real client (RFC 5321 §4.1.4).
func isHelloName(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._:[]", r)
	})
}

// startTLS is RFC 3207.
func (s *session) startTLS(ctx context.Context, args string) error {
	switch {
	case s.pipelined():
		return s.refusePipelining()
	case args != "":
		s.say(501, "5.5.4", "STARTTLS takes no parameter")
	case s.TLS != nil:
		s.say(503, "5.5.1", "TLS is in force already")
	case !s.offersTLS():
		s.say(502, "5.5.1", "STARTTLS is not offered")
	case !s.listener.certificate.usable():
		s.say(454, "4.7.0", "TLS is not available for the moment")
	default:
		s.say(220, "2.0.0", "Go ahead")
		if err := s.out.Flush(); err != nil {
			return err
		}
		s.reset()
		s.Helo = ""
		return s.handshake(ctx)
	}
	return nil
}

// mayMail says whether MAIL is in order, and answers it if not.
func (s *session) mayMail() bool {
	switch {
	case s.Helo == "":
		s.say(503, "5.5.1", "Say EHLO first")
	case s.mail:
		s.say(503, "5.5.1", "A transaction has begun already")
	case s.Listener.TLS == config.TLSRequired && s.TLS == nil && !s.listener.certificate.usable():
		s.say(451, "4.7.0", "TLS is required, and not available for the moment")
	case s.Listener.TLS == config.TLSRequired && s.TLS == nil:
		s.say(530, "5.7.0", "Must issue a STARTTLS command first")
	case s.Listener.Mode == config.ModeSubmission && s.User == "":
		s.say(530, "5.7.0", "Authentication required")
	default:
		return true
	}
	return false
}

// mailFrom begins a transaction.
func (s *session) mailFrom(ctx context.Context, args string) {
	if !s.mayMail() {
		return
	}
	path, params, ok := cutPath(args, "FROM:")
	if !ok {
		s.say(501, "5.5.4", "MAIL FROM:<address> was expected")
		return
	}
	if path != "" {
		address, err := envelope.ParseAddress(path)
		if err != nil {
			s.badAddress("5.1.7", err)
			return
		}
		path = address.String()
	}
	if !s.mailParams(params) {
		s.reset()
		return
	}
	s.ReversePath = path
	if err := s.handler.Mail(ctx, &s.Session); err != nil {
		s.reset()
		s.fail(err)
		return
	}
	s.mail = true
	s.say(250, "2.1.0", "OK")
}

// mailParams takes the parameters of MAIL: SIZE (RFC 1870), BODY (RFC 6152) and, where AUTH is offered, AUTH
// (RFC 4954 §5), which is not relied on.
func (s *session) mailParams(params []string) bool {
	for _, p := range params {
		name, value, _ := strings.Cut(p, "=")
		switch name = strings.ToUpper(name); {
		case name == "SIZE":
			if !s.sizeParam(value) {
				return false
			}
		case name == "BODY" && (strings.EqualFold(value, "7BIT") || strings.EqualFold(value, "8BITMIME")):
		case name == "AUTH" && s.offersAuth() && value != "":
		default:
			s.say(555, "5.5.4", "Parameter %s is not supported", name)
			return false
		}
	}
	return true
}

func (s *session) sizeParam(value string) bool {
	size, err := strconv.ParseUint(value, 10, 63)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && int64(size) > s.settings.MaxBytes:
		s.say(552, "5.3.4", "At most %d octets are accepted", s.settings.MaxBytes)
		return false
	case err != nil:
		s.say(501, "5.5.4", "SIZE is a number of octets")
		return false
	}
	s.Size = int64(size)
	return true
}

// rcptTo adds a recipient.
func (s *session) rcptTo(ctx context.Context, args string) {
	if !s.mail {
		s.say(503, "5.5.1", "Say MAIL first")
		return
	}
	path, params, ok := cutPath(args, "TO:")
	switch {
	case !ok || path == "":
		s.say(501, "5.5.4", "RCPT TO:<address> was expected")
		return
	case len(params) > 0:
		s.say(555, "5.5.4", "Parameter %s is not supported", params[0])
		return
	case len(s.Recipients) >= MaxRecipients:
		s.say(452, "4.5.3", "Too many recipients; send another copy for the others")
		return
	}
	address, err := recipient(path)
	if err != nil {
		s.badAddress("5.1.3", err)
		return
	}
	to := envelope.Recipient{Address: address}
	before := len(s.Recipients)
	if err := s.handler.Rcpt(ctx, &s.Session, to); err != nil {
		s.Recipients = s.Recipients[:before]
		s.fail(err)
		return
	}
	if len(s.Recipients) == before {
		s.Recipients = append(s.Recipients, to)
	}
	s.say(250, "2.1.5", "OK")
}

// recipient is the address of a forward path: postmaster alone needs no domain (RFC 5321 §4.1.1.3).
func recipient(path string) (string, error) {
	if strings.EqualFold(path, "postmaster") {
		return path, nil
	}
	address, err := envelope.ParseAddress(path)
	if err != nil {
		return "", err
	}
	return address.String(), nil
}

// badAddress answers an address that is not one; enhanced is 5.1.7 for senders, 5.1.3 for recipients.
func (s *session) badAddress(enhanced string, err error) {
	if errors.Is(err, envelope.ErrAddressNonASCII) {
		enhanced = "5.6.7"
	}
	s.say(553, enhanced, "%s", err)
}
