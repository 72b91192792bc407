package listener

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
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
	case "BDAT":
		return s.bdat(ctx, args)
	case "RSET":
		s.reset()
		s.idle(verb)
	case "NOOP", "VRFY":
		s.idle(verb)
	case "QUIT":
		s.say(221, "2.0.0", "Bye")
		return errEnd
	default:
		return s.unknown(verb)
	}
	return nil
}

// idle answers a command that leads nowhere.
func (s *session) idle(verb string) {
	s.idlers++
	if verb == "VRFY" {
		s.say(252, "2.5.2", "Send some mail and see")
	} else {
		s.say(250, "2.0.0", "OK")
	}
}

// unknown refuses a command. Where what follows is not SMTP, it goes no further.
func (s *session) unknown(verb string) error {
	switch verb {
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
	s.idlers++
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
		"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "SMTPUTF8", "DSN", "MT-PRIORITY",
		"SIZE " + strconv.FormatInt(s.settings.MaxBytes, 10),
	}
	if s.offersTLS() && s.listener.certificate.usable() {
		offers = append(offers, "STARTTLS")
	}
	if s.offersAuth() && s.TLS != nil && s.User == "" {
		offers = append(offers, "AUTH "+strings.Join(s.mechanisms(), " "))
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
		s.fail(reply.Reply{Code: 454, Enhanced: "4.7.0", Text: "TLS is not available for the moment"})
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
		s.fail(reply.Reply{Code: 451, Enhanced: "4.7.0", Text: "TLS is required, and not available for the moment"})
	case s.Listener.TLS == config.TLSRequired && s.TLS == nil:
		s.say(530, "5.7.0", "Must issue a STARTTLS command first")
	case s.Listener.Mode == config.ModeSubmission && s.User == "":
		s.say(530, "5.7.0", "Authentication required")
	case s.User != "" && !s.holds():
		s.fail(reply.Reply{Code: 454, Enhanced: "4.7.0", Text: "Your credentials have changed; connect again"})
	default:
		return true
	}
	return false
}

// mailFrom begins a transaction. Whether the client is trusted is asked anew: the settings may have changed.
func (s *session) mailFrom(ctx context.Context, args string) {
	if !s.mayMail() {
		return
	}
	path, params, ok := cutPath(args, "FROM:")
	if !ok {
		s.say(501, "5.5.4", "MAIL FROM:<address> was expected")
		return
	}
	p, err := parseMailParams(params, s.settings.MaxBytes, s.offersAuth())
	if err != nil {
		s.fail(err)
		return
	}
	if path != "" {
		if path, err = parsePath(path, p.utf8); err != nil {
			s.badAddress("5.1.7", err)
			return
		}
	}
	s.Trusted = s.trusted()
	s.ReversePath, s.Size, s.SMTPUTF8, s.EnvelopeID, s.Return = path, p.size, p.utf8, p.envelopeID, p.returns
	s.Priority = p.priority
	s.UTF8 = envelope.NeedsUTF8(path)
	if err := s.handler.Mail(ctx, &s.Session); err != nil {
		s.reset()
		s.fail(err)
		return
	}
	s.mail = true
	s.say(250, "2.1.0", "OK")
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
	case len(s.Recipients) >= MaxRecipients:
		s.excess++
		s.say(452, "4.5.3", "Too many recipients; send another copy for the others")
		return
	}
	p, err := parseRcptParams(params, s.SMTPUTF8)
	if err != nil {
		s.fail(err)
		return
	}
	address, err := s.recipient(path)
	if err != nil {
		s.badAddress("5.1.3", err)
		return
	}
	s.addRecipient(ctx, envelope.Recipient{Address: address, Notify: p.notify, Original: p.original})
}

// addRecipient asks the Handler about a recipient that is well-formed.
func (s *session) addRecipient(ctx context.Context, to envelope.Recipient) {
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
func (s *session) recipient(path string) (string, error) {
	if strings.EqualFold(path, "postmaster") {
		return path, nil
	}
	return parsePath(path, s.SMTPUTF8)
}

// parsePath checks an address and quotes it where it has to be.
func parsePath(path string, unicode bool) (string, error) {
	parse := envelope.ParseAddress
	if unicode {
		parse = envelope.ParseAddressUTF8
	}
	address, err := parse(path)
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
