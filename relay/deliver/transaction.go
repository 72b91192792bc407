package deliver

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

// transaction sends a message once, to some of its recipients; or asks about them, when there is nothing to open.
type transaction struct {
	conn     *conn
	envelope *envelope.Envelope
	to       []int // indexes into envelope.Recipients
	open     func() (io.ReadCloser, error)
	// replies decide over the recipients of to; code 0: nothing is decided.
	replies []reply.Reply
	answers answers
	// body is the message when it goes out in one flight with the commands; sent says that all of it went out, so that
	// it may have been taken.
	body []byte
	sent bool
	// misunderstood says that the server could not cope with one flight.
	misunderstood bool
}

// answers are what the server said up to DATA.
type answers struct {
	mail reply.Reply
	rcpt []reply.Reply
	data reply.Reply // also that to RSET, which stands in its place in a probe
}

// run goes through the transaction. An error means that the connection is of no more use; what was decided before
// is in replies.
func (tx *transaction) run() error {
	if refusal := tx.conn.tooBig(tx.envelope.Size); refusal.Code != 0 {
		tx.decide(refusal)
		return nil
	}
	if tx.open == nil {
		return tx.probe()
	}
	content, err := tx.open()
	if err != nil {
		tx.decide(reply.Reply{Code: 451, Enhanced: "4.3.0", Text: "the message cannot be read: " + err.Error()})
		return nil
	}
	defer content.Close()
	if tx.conn.oneFlight(tx.envelope.Size) {
		return tx.fly(content)
	}
	return tx.data(content)
}

// decide gives all recipients one reply.
func (tx *transaction) decide(r reply.Reply) {
	for n := range tx.replies {
		tx.replies[n] = r
	}
}

// give gives some recipients one reply.
func (tx *transaction) give(to []int, r reply.Reply) {
	for _, n := range to {
		tx.replies[n] = r
	}
}

// refusedAtRCPT says whether what decided over a recipient is the answer to its RCPT.
func (tx *transaction) refusedAtRCPT(n int) bool {
	a := &tx.answers
	return n < len(a.rcpt) && a.mail.Class() == reply.Success && a.rcpt[n].Class() != reply.Success && a.rcpt[n].Code != 0 &&
		a.rcpt[n] == tx.replies[n]
}

// probe asks about the recipients and gives them nothing. What the server has against the null reverse path says
// nothing about them.
func (tx *transaction) probe() error {
	err := tx.announce("RSET")
	if err == nil && tx.answers.mail.Class() != reply.Success {
		return unwelcome("answered MAIL with", tx.answers.mail)
	}
	copy(tx.replies, tx.answers.rcpt)
	tx.conn.open = tx.answers.data.Class() != reply.Success
	if err != nil {
		return err
	}
	return tx.farewell(tx.answers.data)
}

// data sends the message when the server asks for it: with PIPELINING in the second round trip.
func (tx *transaction) data(content io.Reader) error {
	err := tx.announce("DATA")
	if errors.Is(err, errStale) {
		return err
	}
	taken := tx.refuse()
	if err != nil {
		return err
	}
	if tx.answers.data.Code != 354 {
		tx.give(taken, notAnswered("DATA", tx.answers.data))
		return tx.farewell(tx.answers.data)
	}
	if len(taken) == 0 {
		return protocolError("the server wants a message for nobody") // no content is safer than an empty one
	}
	if lost, err := tx.conn.content(content, tx.envelope.Size); err != nil {
		tx.give(taken, lost)
		return err
	}
	err = tx.verdicts(taken)
	tx.conn.open = false
	return err
}

// notAnswered is what an answer that makes no sense is worth.
func notAnswered(verb string, answer reply.Reply) reply.Reply {
	if answer.Class() != reply.Success {
		return answer
	}
	return reply.Reply{Code: 451, Enhanced: "4.5.0", Text: verb + " was answered with: " + answer.String()}
}

// fly sends envelope and message in one flight, so that one round trip is all it takes. The message goes out before
// it is known who is taken; a server gives it to these alone, and refuses it when there is nobody (RFC 3030 §2).
func (tx *transaction) fly(content io.Reader) error {
	b := tx.conn.bufs.blocks.Get().(*block)
	defer tx.conn.bufs.blocks.Put(b)
	var err error
	if tx.body, err = whole(content, b[:], tx.envelope.Size); err != nil {
		tx.decide(reply.Reply{Code: 451, Enhanced: "4.3.0", Text: err.Error()})
		return nil
	}
	if err = tx.announce(""); errors.Is(err, errStale) {
		return err
	}
	taken := tx.refuse()
	if err == nil && len(taken) > 0 {
		err = tx.verdicts(taken)
	} else if err == nil {
		tx.answers.data, err = tx.conn.read(tx.conn.timeouts.Done, "the reply to BDAT")
	}
	if err != nil {
		tx.maybe(err)
		return err
	}
	return tx.farewell(tx.answers.data)
}

// maybe defers the recipients about whom nothing was heard before the connection broke, when the message may have
// arrived: another host would be given it a second time.
func (tx *transaction) maybe(broken error) {
	if farewell := new(failure); !errors.As(broken, farewell) {
		tx.misunderstood = true
	}
	for n, r := range tx.replies {
		if tx.sent && r.Code == 0 {
			tx.replies[n] = replyFor(broken)
		}
	}
}

// verdicts reads what decides over the recipients who were given the message: one reply for all, or with LMTP one
// for each, in their order (RFC 2033 §4.2, §4.3).
func (tx *transaction) verdicts(taken []int) error {
	s := tx.conn
	var farewell error
	for k, n := range taken {
		if k > 0 && !s.key.lmtp {
			tx.replies[n] = tx.replies[taken[0]]
			continue
		}
		answer, err := s.read(s.timeouts.Done, "the reply to the message")
		if err != nil {
			tx.give(taken[k:], replyFor(err))
			return err
		}
		if answer.Class() == reply.Success {
			s.open = false
		}
		if answer.Code == 421 {
			farewell = failure{reply: answer}
		}
		tx.replies[n] = tx.judge(answer)
	}
	return farewell
}

// judge tells a refusal of the message from one of BDAT as a command (RFC 5321 §4.2.1: x0z is about syntax), which is
// about the way it was sent: the next attempt goes by DATA.
func (tx *transaction) judge(answer reply.Reply) reply.Reply {
	if tx.body == nil || answer.Code < 500 || answer.Code > 504 {
		return answer
	}
	tx.misunderstood = true
	return reply.Reply{Code: 451, Enhanced: "4.5.0", Text: "BDAT was answered with: " + answer.String()}
}

// announce says MAIL, RCPT and the last word: DATA, RSET, or none where the body follows. When a connection that
// waited turns out to be dead, the error is errStale; with any other, the refusals that were heard stand.
func (tx *transaction) announce(last string) error {
	s := tx.conn
	waited := s.reused
	s.reused = false
	s.messages++
	tx.answers.rcpt = make([]reply.Reply, len(tx.to))
	steps := tx.steps(last)
	var err error
	if s.offers("PIPELINING") {
		err = tx.together(steps)
	} else {
		err = tx.stepwise(steps)
	}
	silent := err != nil && tx.answers.mail.Code == 0 && (!tx.sent || !isTimeout(err))
	if waited && (silent || tx.answers.mail.Code == 421) {
		return errStale
	}
	s.open = tx.answers.mail.Class() == reply.Success
	return err
}

// farewell says whether one of the answers ends the session (RFC 5321 §3.8: 421).
func (tx *transaction) farewell(last reply.Reply) error {
	for _, r := range append(tx.answers.rcpt, tx.answers.mail, last) {
		if r.Code == 421 {
			return failure{reply: r}
		}
	}
	return nil
}

// step is a command, the place for its reply, and the time for that.
type step struct {
	command string
	verb    string
	answer  *reply.Reply
	limit   time.Duration
}

func (tx *transaction) steps(last string) []step {
	s := tx.conn
	steps := make([]step, 0, len(tx.to)+3)
	if s.open {
		steps = append(steps, step{"RSET", "RSET", new(reply.Reply), s.timeouts.Mail})
	}
	steps = append(steps, step{s.mailCommand(tx.envelope), "MAIL", &tx.answers.mail, s.timeouts.Mail})
	for n, i := range tx.to {
		command := s.rcptCommand(&tx.envelope.Recipients[i])
		steps = append(steps, step{command, "RCPT", &tx.answers.rcpt[n], s.timeouts.Rcpt})
	}
	if last != "" {
		steps = append(steps, step{last, last, &tx.answers.data, s.timeouts.Data})
	}
	return steps
}

// together sends the commands, and the body if there is one, in one flight (RFC 2920), and reads the replies to the
// commands. Each may take as long as that to the message: a server may answer all of them when it has taken it. When
// the flight cannot be sent, what the server said before it hung up is still worth hearing.
func (tx *transaction) together(steps []step) error {
	s := tx.conn
	err := tx.send(steps)
	if s.r.Buffered() > 0 {
		return err // nothing of that can be an answer
	}
	for i := range steps {
		switch {
		case err != nil:
			steps[i].limit = lastWordWait
		case tx.body != nil:
			steps[i].limit = s.timeouts.Done
		}
	}
	if heard := s.collect(steps); err == nil {
		err = heard
	}
	return err
}

func (tx *transaction) send(steps []step) error {
	s := tx.conn
	for _, st := range steps {
		if err := s.send(st.command); err != nil {
			return err
		}
	}
	if tx.body != nil {
		if err := s.send(fmt.Sprintf("BDAT %d LAST", len(tx.body))); err != nil {
			return err
		}
		if _, err := s.w.Write(tx.body); err != nil {
			return fmt.Errorf("send the message: %w", err)
		}
		s.handed.Store(true)
	}
	if err := s.w.Flush(); err != nil {
		return fmt.Errorf("send %s: %w", steps[0].verb, err)
	}
	tx.sent = tx.body != nil
	return nil
}

// stepwise waits for each reply, and leaves out the commands that there is nothing to say for.
func (tx *transaction) stepwise(steps []step) error {
	for i, st := range steps {
		if tx.pointless(st) {
			continue
		}
		answer, err := tx.conn.ask(st.limit, st.verb, st.command)
		if err != nil {
			return err
		}
		*steps[i].answer = answer
	}
	return nil
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

// collect reads the replies to what was sent. Replies to one kind of command share its time, so that a server cannot
// stretch it by the number of recipients.
func (s *conn) collect(expected []step) error {
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

// refuse settles the recipients that the server refused, and returns those it took by their place in tx.to. About
// those it said nothing of, nothing is decided.
func (tx *transaction) refuse() (taken []int) {
	a := &tx.answers
	for n, r := range a.rcpt {
		switch {
		case a.mail.Class() != reply.Success:
			tx.replies[n] = a.mail
		case r.Class() != reply.Success:
			tx.replies[n] = r
		default:
			taken = append(taken, n)
		}
	}
	return taken
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
