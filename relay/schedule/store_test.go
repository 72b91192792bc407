package schedule

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/rate"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/spool"
)

// newStore is a real spool in memory.
func newStore(t testing.TB) *spool.Store {
	t.Helper()
	store, err := spool.Open("spool", spool.Options{FS: vfs.NewMem(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// entry is what a test stores: mail of a sender for a domain.
func newEntry(sender, domain string, due time.Time) envelope.Envelope {
	return envelope.Envelope{
		Domain: domain, ReversePath: "a@" + sender, Tenant: sender, Origin: envelope.Trusted, Accepted: due,
		Recipients: []envelope.Recipient{{Address: "b@" + domain, State: envelope.Queued, Due: due}},
	}
}

// add stores n messages.
func add(t testing.TB, store *spool.Store, n int, sender, domain string, due time.Time) []envelope.Envelope {
	t.Helper()
	var all []envelope.Envelope
	for range n {
		all = append(all, put(t, store, newEntry(sender, domain, due))...)
	}
	return all
}

// put stores a message with one entry.
func put(t testing.TB, store *spool.Store, e envelope.Envelope) []envelope.Envelope {
	t.Helper()
	w := store.Create()
	if _, err := w.Write([]byte("x\r\n")); err != nil {
		t.Fatal(err)
	}
	stored, err := w.Commit(nil, []envelope.Envelope{e})
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// settleAs stores how an attempt for a job ended, as the relay does.
func settleAs(t testing.TB, store *spool.Store, job *Job, code int) {
	t.Helper()
	_, _, err := store.Change(job.Key, func(e *envelope.Envelope) ([]spool.Draft, error) {
		for i, r := range e.Recipients {
			o := envelope.Outcome{Reply: reply.Reply{Code: code, Text: "said the test"}, At: time.Now()}
			retry := envelope.Retry{Initial: time.Hour, Max: time.Hour, Expires: time.Now().Add(100 * time.Hour), Jitter: 0.5}
			e.Recipients[i] = r.After(o, time.Now(), retry)
		}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ownSite makes every domain its own site.
func ownSite(_ context.Context, _, domain string) (string, []string) { return domain, nil }

// start makes a scheduler and runs it until the test ends.
func start(t testing.TB, o Options) *Scheduler {
	t.Helper()
	if o.Limiter == nil {
		o.Limiter = rate.New(time.Now)
	}
	if o.Site == nil {
		o.Site = ownSite
	}
	s := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

// next is a job that must come within a second.
func next(t testing.TB, s *Scheduler) *Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	job, err := s.Next(ctx)
	if err != nil {
		t.Fatalf("no job: %v\n%s", err, dump(s))
	}
	return job
}

func dump(s *Scheduler) string { return fmt.Sprintf("%d waiting: %+v", s.waiting, s.Waiting()) }

func TestSmoke(t *testing.T) {
	store := newStore(t)
	add(t, store, 2500, "acme.example", "a.example", time.Now())
	s := start(t, Options{Store: store})
	for range 10 {
		add(t, store, 1, "acme.example", "b.example", time.Now())
	}
	s.Reconsider()
	for range 2510 {
		job := next(t, s)
		if _, err := store.Begin(job.Key, time.Now()); err != nil {
			t.Fatal(err)
		}
		settleAs(t, store, job, 250)
		s.Done(job)
	}
	if n := store.Totals().Queued; n != 0 {
		t.Errorf("%d left", n)
	}
}
