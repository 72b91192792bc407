package deliver

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

// transaction sends a message once, to some of its recipients.
type transaction struct {
	conn     *conn
	envelope *envelope.Envelope
	to       []int // indexes into envelope.Recipients
	open     func() (io.ReadCloser, error)
	// replies decide over the recipients of to; code 0: nothing is decided.
	replies []reply.Reply
	answers answers
}

// answers are what the server said up to DATA.
type answers struct {
	mail reply.Reply
	rcpt []reply.Reply
	data reply.Reply
}

// run goes through the transaction. An error means that the connection is of no more use; what was decided before
// is in replies.
func (tx *transaction) run() error {
	if refusal := tx.conn.refusal(tx.envelope); refusal.Code != 0 {
		tx.decide(refusal)
		return nil
	}
	content, err := tx.open()
	if err != nil {
		tx.decide(reply.Reply{Code: 451, Enhanced: "4.3.0", Text: "the message cannot be read: " + err.Error()})
		return nil
	}
	defer content.Close()
	if err := tx.announce(); err != nil {
		return err
	}
	accepted := tx.settle()
	if tx.answers.data.Code != 354 {
		return tx.farewell()
	}
	if len(accepted) == 0 {
		return protocolError("the server wants a message for nobody") // no content is safer than an empty one
	}
	answer, err := tx.conn.content(content, tx.envelope.Size)
	for _, n := range accepted {
		tx.replies[n] = answer
	}
	return err
}

// refusal says why this server cannot be given a message; a reply without code if it can. Nothing is converted:
// that would break signatures.
func (s *conn) refusal(e *envelope.Envelope) reply.Reply {
	switch limit := s.maxSize(); {
	case e.UTF8 && !s.offers("SMTPUTF8"):
		return reply.Reply{Code: 550, Enhanced: "5.6.7", Text: "the next hop does not offer SMTPUTF8, and the message needs it"}
	case e.EightBit && !s.offers("8BITMIME"):
		return reply.Reply{Code: 554, Enhanced: "5.6.3", Text: "the next hop does not offer 8BITMIME, and the message needs it"}
	case limit > 0 && e.Size > limit:
		return reply.Reply{Code: 552, Enhanced: "5.3.4", Text: fmt.Sprintf("the message has %d octets; the next hop takes %d", e.Size, limit)}
	}
	return reply.Reply{}
}

// decide gives all recipients one reply.
func (tx *transaction) decide(r reply.Reply) {
	for n := range tx.replies {
		tx.replies[n] = r
	}
}

// announce says MAIL, RCPT and DATA and collects the answers. When a connection that waited turns out to be dead,
// the error is errStale; with any other, the refusals that were heard stand.
func (tx *transaction) announce() error {
	s := tx.conn
	waited := s.reused
	s.reused = false
	s.messages++
	tx.answers.rcpt = make([]reply.Reply, len(tx.to))
	err := tx.stepwise()
	if waited && (err != nil && tx.answers.mail.Code == 0 || tx.answers.mail.Code == 421) {
		return errStale
	}
	s.open = tx.answers.mail.Class() == reply.Success
	if err != nil {
		tx.settle()
	}
	return err
}

// farewell says whether one of the answers ends the session (RFC 5321 §3.8: 421).
func (tx *transaction) farewell() error {
	for _, r := range append(tx.answers.rcpt, tx.answers.mail, tx.answers.data) {
		if r.Code == 421 {
			return failure{reply: r}
		}
	}
	return nil
}

// stepwise sends the commands, all at once where the server allows it (RFC 2920), and reads their replies. Without
// PIPELINING it stops when there is nothing to go on for.
func (tx *transaction) stepwise() error {
	s := tx.conn
	pipelining := s.offers("PIPELINING")
	var expected []step
	perform := func(st step) error {
		if err := s.send(st.command); err != nil {
			return err
		}
		if expected = append(expected, st); pipelining {
			return nil
		}
		defer func() { expected = expected[:0] }()
		return s.collect(expected)
	}
	for _, st := range tx.steps() {
		if !pipelining && tx.pointless(st) {
			continue
		}
		if err := perform(st); err != nil {
			return err
		}
	}
	return s.collect(expected)
}

// step is a command, the place for its reply, and the time for that.
type step struct {
	command string
	verb    string
	answer  *reply.Reply
	limit   time.Duration
}

func (tx *transaction) steps() []step {
	s := tx.conn
	steps := make([]step, 0, len(tx.to)+3)
	if s.open {
		steps = append(steps, step{"RSET", "RSET", new(reply.Reply), s.timeouts.Mail})
	}
	steps = append(steps, step{tx.mail(), "MAIL", &tx.answers.mail, s.timeouts.Mail})
	for n, i := range tx.to {
		command := "RCPT TO:<" + tx.envelope.Recipients[i].Address + ">"
		steps = append(steps, step{command, "RCPT", &tx.answers.rcpt[n], s.timeouts.Rcpt})
	}
	return append(steps, step{"DATA", "DATA", &tx.answers.data, s.timeouts.Data})
}

func (tx *transaction) mail() string {
	command := "MAIL FROM:<" + tx.envelope.ReversePath + ">"
	if tx.conn.offers("SIZE") && tx.envelope.Size > 0 {
		command += " SIZE=" + strconv.FormatInt(tx.envelope.Size, 10)
	}
	if tx.envelope.EightBit {
		command += " BODY=8BITMIME"
	}
	if tx.envelope.UTF8 {
		command += " SMTPUTF8"
	}
	return command
}

// pointless says whether a command need not be sent after the answers so far.
func (tx *transaction) pointless(st step) bool {
	a := &tx.answers
	switch st.verb {
	case "RCPT":
		return a.mail.Class() != reply.Success
	case "DATA":
		return a.accepted() == 0
	default:
		return false
	}
}

// collect flushes and reads the replies to what was sent. Replies to one kind of command share its time, so that
// a server cannot stretch it by the number of recipients.
func (s *conn) collect(expected []step) error {
	if len(expected) == 0 {
		return nil
	}
	if err := s.w.Flush(); err != nil {
		return fmt.Errorf("send %s: %w", expected[0].verb, err)
	}
	var deadline time.Time
	for i, st := range expected {
		if i == 0 || st.verb != expected[i-1].verb {
			deadline = time.Now().Add(st.limit)
		}
		var err error
		if *st.answer, err = s.readBy(deadline, "the reply to "+st.verb); err != nil {
			return err
		}
	}
	return nil
}

// accepted is how many recipients the server took.
func (a *answers) accepted() int {
	if a.mail.Class() != reply.Success {
		return 0
	}
	taken := 0
	for _, r := range a.rcpt {
		if r.Class() == reply.Success {
			taken++
		}
	}
	return taken
}

// settle decides over all recipients but those that may be given the content, which it returns by their place in
// tx.to.
func (tx *transaction) settle() (accepted []int) {
	a := &tx.answers
	for n, r := range a.rcpt {
		switch {
		case a.mail.Class() != reply.Success:
			tx.replies[n] = a.mail
		case r.Class() != reply.Success:
			tx.replies[n] = r
		case a.data.Class() == reply.Success:
			tx.replies[n] = reply.Reply{Code: 451, Enhanced: "4.5.0", Text: "DATA was answered with: " + a.data.String()}
		case a.data.Code != 354:
			tx.replies[n] = a.data
		default:
			accepted = append(accepted, n)
		}
	}
	return accepted
}

// again says whether a recipient is to be tried once more, in a transaction of its own: the server had taken others
// and said that these were too many (452, or 552 as RFC 5321 §4.5.3.1.10 allows for). So every round gets
// rid of at least one recipient.
func (tx *transaction) again(n int) bool {
	r := tx.replies[n]
	tooMany := r.Code == 452 && (r.Enhanced == "" || r.Enhanced == "4.5.3") ||
		r.Code == 552 && (r.Enhanced == "" || r.Enhanced == "5.5.3")
	return tooMany && tx.answers.rcpt != nil && tx.answers.rcpt[n] == r && tx.answers.accepted() > 0
}
