// Package verify owns whether a recipient that a stranger names is known to the next hop, so that nothing is accepted
// only to become backscatter. It asks the next hop, bounds how often, and remembers the answers. It does not decide
// which recipients are to be verified.
package verify

import (
	"context"
	"errors"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/route"
)

const (
	// goodLife and badLife are how long an answer is believed. Who was just given a mailbox does not wait long.
	goodLife = time.Hour
	badLife  = 5 * time.Minute
	// troubleLife is how long a next hop that gave no answer is not asked again, about any recipient.
	troubleLife = 5 * time.Second
	// patience is how long one answer may take.
	patience = 10 * time.Second
	// perSite is how many questions a site is asked at the same time.
	perSite = 10
	// remembered is how many answers are kept.
	remembered = 20_000
)

// Prober asks a next hop: a deliver.Client.
type Prober interface {
	Probe(ctx context.Context, ehlo string, plan route.Plan, address string, utf8 bool) envelope.Outcome
}

// Options of a Verifier.
type Options struct {
	Prober Prober
	// Now tells the time; time.Now if nil.
	Now func() time.Time
}

// Verifier verifies recipients. It is safe for concurrent use and starts no goroutine.
type Verifier struct {
	o       Options
	answers *answers
	sites   *slots
	asking  singleflight.Group
}

// New returns a verifier that knows nothing yet.
func New(o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Verifier{o: o, answers: newAnswers(remembered), sites: newSlots(perSite)}
}

// Question is about one recipient.
type Question struct {
	route.Verification
	// EHLO is our own name.
	EHLO    string
	Address string
	// Plan finds the next hops. Its error is a reply.Reply.
	Plan func(context.Context) (route.Plan, error)
}

// Verify returns nil for a recipient that may be accepted, else a reply.Reply: 550 5.1.1 when the next hop does not
// know it, 450 or 451 when that cannot be said now. It takes ten seconds at most, whatever becomes of ctx.
func (v *Verifier) Verify(ctx context.Context, q Question) error {
	for _, k := range []key{{q.Site, q.Address}, {q.Site, ""}} {
		if known, ok := v.answers.get(k, v.o.Now()); ok {
			return known.asError()
		}
	}
	answered, _, _ := v.asking.Do(q.Site+" "+q.Address, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		outcome := v.ask(ctx, q)
		given := judge(outcome, q.Backup)
		v.remember(q, given)
		return given, nil
	})
	return answered.(answer).asError()
}

// ask gets the next hop's answer, or why there is none.
func (v *Verifier) ask(ctx context.Context, q Question) envelope.Outcome {
	release, ok := v.sites.take(ctx, q.Site)
	if !ok {
		return envelope.Outcome{NextHop: q.Site, Reply: busy}
	}
	defer release()
	plan, err := q.Plan(ctx)
	var why reply.Reply
	switch {
	case errors.As(err, &why):
		return envelope.Outcome{Reply: why}
	case err != nil:
		return envelope.Outcome{Reply: reply.Reply{Code: 451, Enhanced: "4.3.0", Text: err.Error()}}
	}
	return v.o.Prober.Probe(ctx, q.EHLO, plan, q.Address, envelope.NeedsUTF8(q.Address))
}

func (v *Verifier) remember(q Question, a answer) {
	k := key{q.Site, q.Address}
	if a.wholeSite {
		k.address = ""
	}
	if a.life > 0 {
		v.answers.put(k, a, v.o.Now().Add(a.life))
	}
}

var (
	busy    = reply.Reply{Code: 451, Enhanced: "4.3.2", Text: "Too many recipients are being verified; try again later"}
	silence = reply.Reply{Code: 450, Enhanced: "4.4.1", Text: "The recipient cannot be verified now; try again later"}
)

// answer is what a stranger is told about a recipient, or about all of a site.
type answer struct {
	// reply has no code when the recipient is accepted.
	reply     reply.Reply
	life      time.Duration
	wholeSite bool
}

func (a answer) asError() error {
	if a.reply.Code == 0 {
		return nil
	}
	return a.reply
}

// judge says what a next hop's answer means. What it says about a recipient is quoted; where it stands is nobody's
// business. A primary that cannot be reached is what a backup is for.
func judge(o envelope.Outcome, backup bool) answer {
	switch {
	case o.Reply.Class() == reply.Success:
		return answer{life: goodLife}
	case o.Reply.Class() == reply.Permanent:
		enhanced := "5.1.1"
		if o.Reply.Enhanced == "5.6.7" {
			enhanced = o.Reply.Enhanced // it has no SMTPUTF8
		}
		return answer{reply: quote(550, enhanced, "The recipient is refused: ", o.Reply), life: badLife}
	case unreachable(o) && backup:
		return answer{life: troubleLife, wholeSite: true}
	case unreachable(o):
		return answer{reply: silence, life: troubleLife, wholeSite: true}
	case o.Reply == busy:
		return answer{reply: busy}
	default:
		return answer{reply: quote(450, "4.1.1", "The recipient cannot be verified now: ", o.Reply)}
	}
}

// unreachable says that the trouble is the host's, not the recipient's: a stranger, who chooses the recipient, must not
// get to choose what the others are told.
func unreachable(o envelope.Outcome) bool {
	return !o.AtRecipient && (o.NextHop == "" || o.Reply.Code == 421 || strings.HasPrefix(o.Reply.Enhanced, "4.4."))
}

func quote(code int, enhanced, ours string, theirs reply.Reply) reply.Reply {
	return reply.Reply{Code: code, Enhanced: enhanced, Text: ours + strings.ReplaceAll(theirs.Text, "\n", "; ")}
}
