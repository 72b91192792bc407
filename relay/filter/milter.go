package filter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	milter "github.com/emersion/go-milter"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/message"
)

// What a milter is offered: to add header fields, and to have a message held. To change fields is offered because
// OpenDKIM, for one, refuses to work otherwise, and is not done: a milter that wants it for a message has given no
// verdict that we could keep. Changes of the body and of the envelope are not offered.
const milterActions = milter.OptAddHeader | milter.OptQuarantine | milter.OptChangeHeader

// milterSteps are the steps that a milter may ask to be spared: those of the protocol's version 2, which all speak.
const milterSteps = milter.OptNoConnect | milter.OptNoHelo | milter.OptNoMailFrom | milter.OptNoRcptTo |
	milter.OptNoBody | milter.OptNoHeaders | milter.OptNoEOH

// milterFilter asks a milter. Each message has a connection of its own, and its whole dialog is held once the message
// is there.
type milterFilter struct {
	name, address, hostname string
}

func newMilter(f config.Filter, hostname string) *milterFilter {
	return &milterFilter{name: f.Name, address: net.JoinHostPort(f.Milter.Host, strconv.Itoa(f.Milter.Port)), hostname: hostname}
}

// ask implements asker.
func (f *milterFilter) ask(ctx context.Context, m *Message) (opinion, error) {
	conn, err := dialMilter(ctx, f.address)
	if err != nil {
		return opinion{}, err
	}
	defer func() { _ = conn.Close() }()
	session, err := milter.NewClientWithOptions("tcp", f.address, milter.ClientOptions{
		Dialer: conn, ActionMask: milterActions, ProtocolMask: milterSteps,
	}).Session()
	if err != nil {
		return opinion{}, err
	}
	d := &dialog{milterFilter: f, session: session, message: m}
	for _, step := range []func() (*milter.Action, error){d.connect, d.mail, d.recipients, d.header, d.body} {
		action, err := step()
		if err != nil {
			return opinion{}, err
		}
		if action.Code != milter.ActContinue {
			_ = session.Close()
			return d.verdict(action)
		}
	}
	changes, action, err := session.End()
	if err != nil {
		return opinion{}, err
	}
	_ = session.Close()
	return d.final(changes, action)
}

// dialog is the talk about one message. Its steps return the milter's first answer that is not "go on".
type dialog struct {
	*milterFilter
	session *milter.ClientSession
	message *Message
	// rest are octets of the header block that are no fields: the milter sees them as body.
	rest []byte
}

// goOn is the answer of a milter that wants to see more.
func goOn() *milter.Action { return &milter.Action{Code: milter.ActContinue} }

func (d *dialog) connect() (*milter.Action, error) {
	c := d.message.Client
	if err := d.macros(milter.CodeConn, "j", d.hostname, "{client_addr}", c.Addr.String(), "{client_port}", strconv.Itoa(int(c.Port))); err != nil {
		return nil, err
	}
	family := milter.FamilyInet
	if c.Addr.Is6() {
		family = milter.FamilyInet6
	}
	action, err := d.session.Conn("["+c.Addr.String()+"]", family, c.Port, c.Addr.String())
	if err != nil || action.Code != milter.ActContinue {
		return action, err
	}
	if err := d.macros(milter.CodeHelo, "{tls_version}", c.TLSVersion, "{cipher}", c.Cipher); err != nil {
		return nil, err
	}
	return d.session.Helo(c.Helo)
}

func (d *dialog) mail() (*milter.Action, error) {
	user := d.message.Client.User
	if err := d.macros(milter.CodeMail, "i", d.message.ID, "{mail_addr}", d.message.From, "{auth_authen}", user); err != nil {
		return nil, err
	}
	return d.session.Mail(d.message.From, nil)
}

// recipients names all of them. The reply to a message is one: a milter that refuses one of its recipients refuses it.
func (d *dialog) recipients() (*milter.Action, error) {
	for _, to := range d.message.Recipients {
		if err := d.macros(milter.CodeRcpt, "{rcpt_addr}", to); err != nil {
			return nil, err
		}
		action, err := d.session.Rcpt(to, nil)
		if err != nil || action.Code != milter.ActContinue && action.Code != milter.ActAccept {
			return action, err
		}
	}
	return goOn(), nil
}

// macros tells those that have a value, before the step that they are for.
func (d *dialog) macros(step milter.Code, pairs ...string) error {
	var set []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			set = append(set, pairs[i], pairs[i+1])
		}
	}
	if len(set) == 0 {
		return nil
	}
	return d.session.Macros(step, set...)
}

func (d *dialog) header() (*milter.Action, error) {
	fields, rest := splitHeader(d.message.Header)
	d.rest = rest
	for _, f := range fields {
		_, value, _ := bytes.Cut(f.Raw, []byte(":"))
		value = bytes.TrimSuffix(bytes.TrimPrefix(value, []byte(" ")), []byte("\r\n"))
		action, err := d.session.HeaderField(f.Name, string(bytes.ReplaceAll(value, []byte("\r\n"), []byte("\n"))))
		if err != nil || action.Code != milter.ActContinue {
			return action, err
		}
	}
	return d.session.HeaderEnd()
}

// splitHeader returns the fields of a header block up to the first line that is none; a sender must not hide from a
// filter behind such a line, so that what follows is the second result.
func splitHeader(block []byte) (fields []message.Field, rest []byte) {
	for len(block) > 0 {
		end := 0
		for {
			newline := bytes.IndexByte(block[end:], '\n')
			if newline < 0 {
				end = len(block)
				break
			}
			if end += newline + 1; end == len(block) || block[end] != ' ' && block[end] != '\t' {
				break
			}
		}
		if string(block[:end]) == "\r\n" {
			return fields, nil
		}
		one, err := message.Fields(block[:end])
		if err != nil || len(one) != 1 {
			return fields, block
		}
		fields = append(fields, one[0])
		block = block[end:]
	}
	return fields, nil
}

// body sends the body in chunks, one of which is in memory.
func (d *dialog) body() (*milter.Action, error) {
	in := io.MultiReader(bytes.NewReader(d.rest), d.message.Body())
	chunk := make([]byte, milter.MaxBodyChunk)
	for {
		n, err := io.ReadFull(in, chunk)
		if n > 0 {
			action, err := d.session.BodyChunk(chunk[:n])
			if err != nil || action.Code != milter.ActContinue {
				return action, err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return goOn(), nil
		case err != nil:
			return nil, err
		}
	}
}

// final is the opinion at the end of the message.
func (d *dialog) final(changes []milter.ModifyAction, action *milter.Action) (opinion, error) {
	o, err := d.verdict(action)
	if err != nil || o.refuse.Code != 0 {
		return o, err
	}
	for _, c := range changes {
		switch c.Code {
		case milter.ActAddHeader, milter.ActInsertHeader:
			o.fields = append(o.fields, field{c.HeaderName, c.HeaderValue})
		case milter.ActQuarantine:
			o.hold = "quarantine"
			if reason := inert(c.Reason, maxText); reason != "" {
				o.hold = reason
			}
		default:
			return opinion{}, fmt.Errorf("the milter wants a change that is not made here: %q", rune(c.Code))
		}
	}
	return o, nil
}

// verdict turns an answer into an opinion. Discarding is refusing, so that no mail vanishes.
func (d *dialog) verdict(a *milter.Action) (opinion, error) {
	switch a.Code {
	case milter.ActAccept, milter.ActContinue:
		return opinion{}, nil
	case milter.ActReject, milter.ActDiscard:
		return opinion{refuse: refusal(550, d.name, "")}, nil
	case milter.ActTempFail:
		return opinion{refuse: refusal(451, d.name, "")}, nil
	case milter.ActReplyCode:
		return d.replyCode(a.SMTPCode, a.SMTPText)
	}
	return opinion{}, fmt.Errorf("the milter's answer %q is none that we know", rune(a.Code))
}

// replyCode is a reply in the milter's own words. Only its class is kept when the code is one by which we would end
// the session, or promise something.
func (d *dialog) replyCode(code int, text string) (opinion, error) {
	r := refusal(550, d.name, "")
	switch {
	case code >= 400 && code < 500:
		r = refusal(451, d.name, "")
	case code < 500 || code > 599:
		return opinion{}, fmt.Errorf("the milter's reply code is %d", code)
	}
	if code != 421 && code != 521 {
		r.Code = code
	}
	text = inert(strings.ReplaceAll(text, "%%", "%"), maxText)
	if enhanced, rest, ok := cutEnhanced(text); ok {
		text = rest
		if enhanced[0] == r.Enhanced[0] {
			r.Enhanced = enhanced
		}
	}
	if text != "" {
		r.Text = text
	}
	return opinion{refuse: r}, nil
}

// cutEnhanced takes an enhanced status code (RFC 3463 §2) off the front of a text.
func cutEnhanced(text string) (enhanced, rest string, ok bool) {
	enhanced, rest, _ = strings.Cut(text, " ")
	parts := strings.Split(enhanced, ".")
	if len(parts) != 3 || parts[0] != "4" && parts[0] != "5" {
		return "", text, false
	}
	for _, part := range parts[1:] {
		if part == "" || len(part) > 3 || strings.Trim(part, "0123456789") != "" {
			return "", text, false
		}
	}
	return enhanced, rest, true
}
