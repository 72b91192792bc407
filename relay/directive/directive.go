// Package directive owns what an admin told the relay to do for a time: which mail it concerns, why, and until when.
// It decides what they mean for an entry and keeps them durable; it moves no mail.
package directive

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/envelope"
)

// Act is what is done to mail in the scope of a directive.
type Act string

const (
	// Suspend: nothing is attempted. Mail is accepted and stays queued; it expires at its max age.
	Suspend Act = "suspend"
	// Hold: mail is held until the directive ends or an admin releases it. Held mail does not expire.
	Hold Act = "hold"
	// Bounce: mail is refused, or fails with a DSN.
	Bounce Act = "bounce"
)

// caution orders the acts: where several directives concern an entry, the one that can best be undone counts.
var caution = []Act{Bounce, Suspend, Hold}

// Scope is the mail that a directive concerns. Fields that are set must all match; All stands alone.
type Scope struct {
	// Domain is the recipients' domain, in lower case.
	Domain string `json:"domain,omitempty"`
	// Sender is a reverse path, or when it holds no "@" a SendingDomain or the domain of the reverse path.
	Sender string `json:"sender,omitempty"`
	All    bool   `json:"all,omitempty"`
}

// Matches says whether an entry is in the scope.
func (s Scope) Matches(e *envelope.Envelope) bool {
	return (s.Domain == "" || s.Domain == e.Domain) && (s.Sender == "" || s.sentBy(e))
}

func (s Scope) sentBy(e *envelope.Envelope) bool {
	if strings.Contains(s.Sender, "@") {
		return strings.EqualFold(s.Sender, e.ReversePath)
	}
	return strings.EqualFold(s.Sender, e.Tenant) || strings.EqualFold(s.Sender, envelope.DomainOf(e.ReversePath))
}

// String names the scope for people.
func (s Scope) String() string {
	var parts []string
	if s.Domain != "" {
		parts = append(parts, "for "+s.Domain)
	}
	if s.Sender != "" {
		parts = append(parts, "from "+s.Sender)
	}
	if len(parts) == 0 {
		return "all mail"
	}
	return "mail " + strings.Join(parts, " ")
}

// Order is what an admin asks for.
type Order struct {
	Act Act `json:"act"`
	Scope
	// Reason is why, in one line. Senders of mail that is refused or fails read it.
	Reason string `json:"reason"`
	// Seconds is how long it holds.
	Seconds int64 `json:"seconds"`
	// By is who asks, as the asking program says.
	By string `json:"by,omitempty"`
}

const (
	// MaxDuration is how long a directive may hold; what is to be so for good belongs into the configuration.
	MaxDuration = 30 * 24 * time.Hour
	// Most is how many directives there may be at a time.
	Most = 1000
	// maxText bounds each text of an order, in octets.
	maxText = 500
)

// Check says what is wrong with an order, and puts its domain into the form that entries have.
func (o *Order) Check() error {
	o.Domain = strings.ToLower(strings.TrimSuffix(o.Domain, "."))
	o.Reason = strings.TrimSpace(o.Reason)
	switch d := o.duration(); {
	case !slices.Contains(caution, o.Act):
		return fmt.Errorf("act must be suspend, hold or bounce, not %q", o.Act)
	case !o.All && o.Domain == "" && o.Sender == "":
		return errors.New(`no mail is named; give domain or sender, or "all": true`)
	case o.All && (o.Domain != "" || o.Sender != ""):
		return errors.New("all stands alone: drop it, or domain and sender")
	case o.Reason == "":
		return errors.New("a reason is required; it stands wherever the directive shows")
	case d < time.Second || d > MaxDuration:
		return fmt.Errorf("it must hold for a second to %d days; what is to be so for good belongs into the configuration", int(MaxDuration.Hours()/24))
	}
	for _, text := range []string{o.Domain, o.Sender, o.Reason, o.By} {
		if len(text) > maxText || strings.ContainsFunc(text, control) {
			return fmt.Errorf("a text is longer than %d octets, or of several lines", maxText)
		}
	}
	return nil
}

// duration is how long the order holds; what is out of all bounds is 0.
func (o *Order) duration() time.Duration {
	if o.Seconds < 0 || o.Seconds > int64(MaxDuration/time.Second) {
		return 0
	}
	return time.Duration(o.Seconds) * time.Second
}

func control(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// Directive is an order in force.
type Directive struct {
	ID  string `json:"id"`
	Act Act    `json:"act"`
	Scope
	Reason string    `json:"reason"`
	By     string    `json:"by,omitempty"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	// Ended is when an admin ended it early; what it did is then being undone.
	Ended *time.Time `json:"ended,omitempty"`
}

// Over says that it no longer holds.
func (d *Directive) Over(now time.Time) bool { return d.Ended != nil || !now.Before(d.Until) }

// HeldText is what stands with mail that the directive holds.
func (d *Directive) HeldText() string { return d.mark() + d.Reason }

// Holds says whether it was this directive that held an entry.
func (d *Directive) Holds(e *envelope.Envelope) bool { return strings.HasPrefix(e.Held, d.mark()) }

func (d *Directive) mark() string { return "directive " + d.ID + ": " }

// Set is a number of directives. It does not change; the nil Set is empty.
type Set struct{ all []Directive }

// List is every directive, the oldest first, those that are over and not yet undone included.
func (s *Set) List() []Directive {
	if s == nil {
		return nil
	}
	return slices.Clone(s.all)
}

// Empty says that there is nothing to decide.
func (s *Set) Empty() bool { return s == nil || len(s.all) == 0 }

// Decide returns the directive that counts for an entry now; nil for none. A hold comes before a suspension, that
// before a bounce; of equal acts the one that holds longest counts. An entry that an admin released is not held again
// by what was in force then, and a DSN is never bounced: nobody would hear of it.
func (s *Set) Decide(e *envelope.Envelope, now time.Time) *Directive {
	if s == nil {
		return nil
	}
	var best *Directive
	for i := range s.all {
		d := &s.all[i]
		released := d.Act == Hold && e.Released
		notice := d.Act == Bounce && e.Origin == envelope.Internal // a DSN, most likely about what it bounced
		if d.Over(now) || !d.Matches(e) || released || notice {
			continue
		}
		if best == nil || d.outranks(best) {
			best = d
		}
	}
	return best
}

func (d *Directive) outranks(o *Directive) bool {
	if d.Act != o.Act {
		return slices.Index(caution, d.Act) > slices.Index(caution, o.Act)
	}
	return d.Until.After(o.Until)
}
