package relay

import (
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/health"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/schedule"
	"github.com/postrider/postrider/relay/status"
)

// TestExplain: each way in which mail can be stuck, and what is said of it.
func TestExplain(t *testing.T) {
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	tried := func(attempts int, due time.Time, last *envelope.Outcome) envelope.Envelope {
		return envelope.Envelope{ID: "A", Domain: "x.test", Accepted: ago(time.Hour), Recipients: []envelope.Recipient{
			{Address: "a@x.test", State: envelope.Queued, Attempts: attempts, Due: due, Last: last},
		}}
	}
	ended := func(enhanced, text string) *envelope.Outcome {
		return &envelope.Outcome{Reply: reply.Reply{Code: 451, Enhanced: enhanced, Text: text}, NextHop: "mx.x.test", At: ago(time.Minute)}
	}
	heldBy := func(why string) envelope.Envelope {
		e := tried(0, ago(time.Hour), nil)
		e.Held = why
		return e
	}
	in := func(reason schedule.Reason, policy string) schedule.Waiting {
		return schedule.Waiting{Reason: reason, Policy: policy, Since: ago(time.Second)}
	}
	act := func(a directive.Act) *directive.Directive {
		return &directive.Directive{
			ID: "d1", Act: a, Scope: directive.Scope{Domain: "x.test"}, Reason: "migration", Since: ago(10 * time.Minute), Until: now.Add(time.Hour),
		}
	}
	later, open := now.Add(5*time.Minute), now.Add(7*time.Second)
	for _, c := range []struct {
		name  string
		facts facts
		want  status.Reason
		since time.Time
		due   time.Time // zero: none is known
		says  string
	}{
		{"ready, in memory", facts{entry: tried(0, ago(time.Hour), nil), waiting: in(schedule.Ready, ""), inMemory: true},
			status.Ready, ago(time.Second), ago(time.Hour), "may go at any moment"},
		{"ready, on disk", facts{entry: tried(0, ago(time.Hour), nil)},
			status.Ready, ago(time.Hour), ago(time.Hour), "may go at any moment"},
		{"in flight", facts{entry: tried(1, later, nil), waiting: in(schedule.InFlight, ""), inMemory: true},
			status.InFlight, ago(time.Second), time.Time{}, "attempt is running"},
		{"back-off after 4xx", facts{entry: tried(3, later, ended("4.7.1", "greylisted"))},
			status.Deferred, ago(time.Minute), later, "Attempt 3 was put off at 2026-11-02T11:59:00Z; the next one is at 2026-11-02T12:05:00Z"},
		{"the look-up failed", facts{entry: tried(1, later, ended("4.4.3", "SERVFAIL"))},
			status.LookupFailed, ago(time.Minute), later, "DNS gave no answer at 2026-11-02T11:59:00Z"},
		{"next hop down", facts{entry: tried(1, later, ended("4.4.1", "smtp.test:25 has been down since 2026-11-02T11:00:00Z: refused"))},
			status.NextHopDown, ago(time.Minute), later, "next hop is down"},
		{"its next hop went down since", facts{entry: tried(1, later, ended("4.4.1", "connection refused")), down: health.State{Down: true, Since: ago(2 * time.Second)}},
			status.NextHopDown, ago(2 * time.Second), later, "goes when that is up again"},
		{"rate limited, opens by itself", facts{entry: tried(0, ago(time.Hour), nil), waiting: in(schedule.RateLimited, "gentle"), inMemory: true, opens: open},
			status.RateLimited, ago(time.Second), open, "Policy gentle lets no more go until 2026-11-02T12:00:07Z"},
		{"rate limited, by connections", facts{entry: tried(0, ago(time.Hour), nil), waiting: in(schedule.RateLimited, "gentle"), inMemory: true},
			status.RateLimited, ago(time.Second), time.Time{}, "until another delivery ends"},
		{"held by an admin", facts{entry: heldBy("wrong list")},
			status.Held, ago(time.Hour), time.Time{}, "until an admin releases it (wrong list)"},
		{"held by an admin while a directive suspends", facts{entry: heldBy("wrong list"), directive: act(directive.Suspend)},
			status.Held, ago(time.Hour), time.Time{}, "until an admin releases it (wrong list)"},
		{"held by a directive", facts{entry: heldBy(act(directive.Hold).HeldText()), directive: act(directive.Hold)},
			status.Held, ago(10 * time.Minute), now.Add(time.Hour), "Directive d1 holds mail for x.test until 2026-11-02T13:00:00Z (migration)"},
		{"suspended, kept back", facts{entry: tried(0, now.Add(time.Hour), nil), directive: act(directive.Suspend)},
			status.Suspended, ago(10 * time.Minute), now.Add(time.Hour), "Directive d1 suspends mail for x.test until 2026-11-02T13:00:00Z (migration)"},
		{"suspended, not met yet", facts{entry: tried(0, ago(time.Hour), nil), waiting: in(schedule.RateLimited, "gentle"), inMemory: true, directive: act(directive.Suspend)},
			status.Suspended, ago(10 * time.Minute), ago(time.Hour), "suspends"},
		{"stalled", facts{entry: tried(1, later, nil), waiting: in(schedule.Stalled, ""), inMemory: true},
			status.InFlight, ago(time.Second), time.Time{}, "it is stalled"},
		{"in flight while a suspension begins", facts{entry: tried(1, later, nil), waiting: in(schedule.InFlight, ""), inMemory: true, directive: act(directive.Suspend)},
			status.InFlight, ago(time.Second), time.Time{}, "attempt is running"},
		{"to be bounced", facts{entry: tried(0, ago(time.Hour), nil), directive: act(directive.Bounce)},
			status.Ready, ago(time.Hour), ago(time.Hour), "may go at any moment"},
		{"broken off by a crash", facts{entry: tried(1, now.Add(20*time.Second), nil)},
			status.Deferred, ago(40 * time.Second), now.Add(20 * time.Second), "The attempt of 2026-11-02T11:59:20Z was broken off"},
		{"without room in its queue", facts{entry: tried(0, later, nil)},
			status.Ready, ago(time.Hour), later, "no room for it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.facts.now = now
			x := explain(c.facts)
			due := time.Time{}
			if x.Due != nil {
				due = *x.Due
			}
			if x.Reason != c.want || !x.Since.Equal(c.since) || !due.Equal(c.due) || !strings.Contains(x.Sentence, c.says) {
				t.Errorf("%s since %s, due %s: %s\nwant %s since %s, due %s: %s", x.Reason, x.Since, due, x.Sentence, c.want, c.since, c.due, c.says)
			}
		})
	}
}

func TestWhatBecameOfEachRecipient(t *testing.T) {
	at := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	happened := func(kind event.Type, to, reply string) event.Event {
		at = at.Add(time.Second)
		return event.Event{Type: kind, At: at, SpoolID: "A", Recipient: to, Reply: reply}
	}
	var events []event.Event
	for _, to := range []string{"delivered@x.test", "failed@x.test", "removed@x.test", "queued@x.test", "forgotten@x.test"} {
		events = append(events, happened(event.Accepted, to, ""))
	}
	events = append(events,
		happened(event.Deferred, "delivered@x.test", "450 later"), happened(event.Delivered, "delivered@x.test", "250 ok"),
		happened(event.Bounced, "failed@x.test", "550 no"), happened(event.Reported, "failed@x.test", "DSN"),
		happened(event.Held, "removed@x.test", ""), happened(event.Removed, "removed@x.test", ""),
		happened(event.Deferred, "queued@x.test", "450 later"), happened(event.Deferred, "forgotten@x.test", "450 later"))
	parent := happened(event.Reported, "other@x.test", "A")
	parent.SpoolID = "B"
	events = append(events, parent)
	queued := envelope.Envelope{ID: "A", Accepted: at, Recipients: []envelope.Recipient{
		{Address: "queued@x.test", Last: &envelope.Outcome{Reply: reply.Reply{Code: 450, Text: "later"}}}, {Address: "unheard@x.test"},
	}}
	want := []struct {
		to    string
		state envelope.Disposition
		reply string
	}{
		{"delivered@x.test", envelope.Delivered, "250 ok"}, {"failed@x.test", envelope.Failed, "550 no"},
		{"removed@x.test", envelope.Removed, ""}, {"queued@x.test", envelope.Queued, "450 later"},
		{"forgotten@x.test", "", "450 later"}, {"unheard@x.test", envelope.Queued, ""},
	}
	got := fates("A", events, []envelope.Envelope{queued})
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, f := range got {
		if f.Recipient != want[i].to || f.State != want[i].state || f.Reply != want[i].reply {
			t.Errorf("%+v, want %+v", f, want[i])
		}
	}
}
