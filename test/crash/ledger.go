package crash

import "fmt"

// Ledger is what a part of the proof reckons up, in recipients. Bounced are failures whose DSN is there, or arrived.
type Ledger struct {
	Accepted, Delivered, Bounced, Queued, Lost, Duplicated int
	// InFlight is how many deliveries were under way when the relay was stopped, and so how many duplicates there may be.
	InFlight int
}

func (l *Ledger) add(m Ledger) {
	l.Accepted += m.Accepted
	l.Delivered += m.Delivered
	l.Bounced += m.Bounced
	l.Queued += m.Queued
	l.Lost += m.Lost
	l.Duplicated += m.Duplicated
	l.InFlight += m.InFlight
}

// String is one line, the same for every part.
func (l Ledger) String() string {
	return fmt.Sprintf("accepted %d, delivered %d, bounced %d, queued %d, lost %d, duplicated %d (in flight %d)",
		l.Accepted, l.Delivered, l.Bounced, l.Queued, l.Lost, l.Duplicated, l.InFlight)
}

// Err says what is wrong with it.
func (l Ledger) Err() error {
	if l.Lost > 0 || l.Duplicated > l.InFlight {
		return fmt.Errorf("the promise is broken: %v", l)
	}
	return nil
}
