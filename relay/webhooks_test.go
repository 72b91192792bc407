package relay_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// receiver is a webhook that keeps what it is told.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	told   []told
}

type told struct {
	ID, Type, Subject, Source string
	Data                      struct{ Recipient, Reply string }
}

func newReceiver(t *testing.T) *receiver {
	w := &receiver{status: http.StatusNoContent}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		var events []told
		if err := json.NewDecoder(req.Body).Decode(&events); err != nil {
			t.Errorf("a batch that is none: %v", err)
		}
		rw.WriteHeader(w.status)
		if w.status < 300 {
			w.told = append(w.told, events...)
		}
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *receiver) answer(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = status
}

// have are the events as "Type recipient", sorted.
func (w *receiver) have() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, e := range w.told {
		all = append(all, strings.TrimPrefix(e.Type, "dev.postrider.mail.")+" "+e.Data.Recipient)
	}
	slices.Sort(all)
	return all
}

func TestWebhookIsToldOfALife(t *testing.T) {
	hook := newReceiver(t)
	no := reply.Reply{Code: 550, Enhanced: "5.1.1", Text: "nobody"}
	sink := newSink(t, smtptest.Options{Replies: map[string]reply.Reply{"no@example.net": no}})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Webhooks = []config.Webhook{{Name: "crm", URL: hook.URL, Types: []string{"Accepted", "Delivered", "Bounced"}}}
	})
	r.domain("example.net", "127.0.0.1")
	r.domain("example.org", "127.0.0.1")
	r.mustSend("a@example.org", "b@example.net,no@example.net", message("a@example.org", "one"))
	r.drained()
	want := []string{ // a DSN is mail, too
		"accepted a@example.org", "accepted b@example.net", "accepted no@example.net",
		"bounced no@example.net", "delivered a@example.org", "delivered b@example.net",
	}
	r.eventually("all events", func() bool { return slices.Equal(hook.have(), want) })
	ids := map[string]bool{}
	for _, e := range hook.told {
		ids[e.ID] = true
		if e.Source != "/namespaces/test/mailrelays/outbound/pods/outbound-0" || e.Subject == "" {
			t.Errorf("event %+v", e)
		}
	}
	if len(ids) != len(want) {
		t.Errorf("%d ids for %d events", len(ids), len(want))
	}
	r.eventually("the events sent to be counted", func() bool { // after the answer to the last of them
		return strings.Contains(r.metrics(), `postrider_webhook_events_sent_total{webhook="crm"} 6`)
	})
}

// TestWebhookThatIsAwayDelaysNoMail has a webhook that fails through a restart, and is told everything afterwards.
func TestWebhookThatIsAwayDelaysNoMail(t *testing.T) {
	hook := newReceiver(t)
	hook.answer(http.StatusServiceUnavailable)
	sink := newSink(t, smtptest.Options{})
	r := newRig(t, func(r *rig) {
		r.routeTo(sink.Port())
		r.config.Relay.Webhooks = []config.Webhook{{Name: "crm", URL: hook.URL, Types: []string{"Delivered"}}}
	})
	r.domain("example.net", "127.0.0.1")
	r.mustSend("a@example.org", "b@example.net", message("a@example.org", "one"))
	r.drained()
	r.halt()
	r.start()
	r.mustSend("a@example.org", "c@example.net", message("a@example.org", "two"))
	r.drained()
	if len(hook.have()) > 0 {
		t.Fatal("a webhook that fails took something")
	}
	hook.answer(http.StatusOK)
	want := []string{"delivered b@example.net", "delivered c@example.net"}
	r.eventually("both events", func() bool { return slices.Equal(hook.have(), want) })

	r.config.Relay.Webhooks = nil
	r.configure()
	r.eventually("the webhook to be gone", func() bool { return !strings.Contains(r.metrics(), "postrider_webhook_events_queued{") })
}
