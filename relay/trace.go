package relay

import (
	"fmt"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/spool"
)

// maxReports is how many DSNs a trace follows.
const maxReports = 20

// Trace implements admin.Relay.
func (r *Relay) Trace(id envelope.ID) (admin.Trace, error) {
	t, err := r.trace(id)
	if err != nil {
		return t, err
	}
	if len(t.Recipients) == 0 && len(t.Events) == 0 {
		return t, fmt.Errorf("%w, and the journal does not know %s: it goes back a few days, less when there is much mail", admin.ErrNotFound, id)
	}
	followed := map[string]bool{}
	for _, e := range t.Events {
		if e.Type != event.Reported || e.SpoolID != string(id) || followed[e.Reply] || len(followed) == maxReports {
			continue
		}
		followed[e.Reply] = true
		dsn, err := r.trace(envelope.ID(e.Reply))
		if err != nil {
			return t, err
		}
		t.Reports = append(t.Reports, dsn)
	}
	return t, nil
}

// trace joins what the journal knows of a message with what is queued.
func (r *Relay) trace(id envelope.ID) (admin.Trace, error) {
	entries, err := r.spool.List(spool.Filter{ID: id}, envelope.Key{}, admin.MaxPage)
	if err != nil {
		return admin.Trace{}, err
	}
	events, err := r.journal.Find(string(id))
	if err != nil {
		return admin.Trace{}, err
	}
	return admin.Trace{
		ID: id, Recipients: fates(id, events, entries), Events: events, Waiting: r.explainAll(entries),
	}, nil
}

// fates are what became of the recipients of a message, in the order in which they are first heard of. What is queued
// now counts more than what the journal says: it may lack the last second before a crash.
func fates(id envelope.ID, events []event.Event, entries []envelope.Envelope) []admin.Fate {
	var all []admin.Fate
	at := map[string]int{}
	of := func(recipient string) *admin.Fate {
		if _, known := at[recipient]; !known {
			at[recipient] = len(all)
			all = append(all, admin.Fate{Recipient: recipient})
		}
		return &all[at[recipient]]
	}
	for i := range events {
		if events[i].SpoolID == string(id) {
			happen(of(events[i].Recipient), &events[i])
		}
	}
	for i := range all {
		if all[i].State == envelope.Queued {
			all[i].State = "" // it is not queued: its end is not in the journal
		}
	}
	for i := range entries {
		for j := range entries[i].Recipients {
			queued := &entries[i].Recipients[j]
			fate := of(queued.Address)
			*fate = admin.Fate{Recipient: queued.Address, State: envelope.Queued, At: entries[i].Accepted}
			if queued.Last != nil {
				fate.Reply = queued.Last.Reply.String()
			}
		}
	}
	return all
}

// happen brings a fate up to date.
func happen(f *admin.Fate, e *event.Event) {
	final := map[event.Type]envelope.Disposition{
		event.Delivered: envelope.Delivered, event.Bounced: envelope.Failed,
		event.Suppressed: envelope.Suppressed, event.Removed: envelope.Removed,
	}
	if e.Reply != "" && e.Type != event.Reported {
		f.Reply = e.Reply
	}
	f.Peer = ""
	switch state, ended := final[e.Type]; {
	case e.Type == event.HandedOut:
		f.State, f.At, f.Peer = "", e.At, e.Peer
	case ended:
		f.State, f.At = state, e.At
	case f.State == "":
		f.State, f.At = envelope.Queued, e.At
	}
}
