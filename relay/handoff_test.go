package relay_test

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/relay/spool"
	"github.com/postrider/postrider/relay/status"
)

const serverName = "outbound.test.relay.postrider.internal"

// newPods are two pods of a relay, out-0 on 127.0.0.2 and out-1 on 127.0.0.3, who share a certificate.
func newPods(t *testing.T) (stays, goes *rig) {
	t.Helper()
	ca := smtptest.NewCA()
	cert, key := ca.PairPEM(serverName)
	pod := func(name, bind string) *rig {
		return newRig(t, func(r *rig) {
			r.routeTo(1) // where nobody listens
			for _, domain := range []string{"nowhere.test", "other.test", "held.test"} {
				r.domain(domain, "127.0.0.9")
			}
			r.pod, r.bind = name, bind
			r.files["admin.crt"], r.files["admin.key"], r.files["ca.crt"] = cert, key, ca.PEM()
			r.config.Relay.Admin = &config.Admin{CertFile: "admin.crt", KeyFile: "admin.key", CAFile: "ca.crt", ServerName: serverName}
		})
	}
	return pod("out-0", "127.0.0.2"), pod("out-1", "127.0.0.3")
}

// handOver cordons a pod and has it give its mail to another.
func handOver(goes *rig, to config.Peer) {
	goes.config.Relay.Cordoned = []string{"out-1"}
	goes.config.Relay.Handoff = &config.Handoff{From: "out-1", Peers: []config.Peer{to}}
	goes.configure()
}

// TestScaleDownLosesNothing: mail that waits, that is held and that is large reaches a peer over mutual TLS as it is,
// with what admins said, and the books and the journals of both pods tell of it.
func TestScaleDownLosesNothing(t *testing.T) {
	stays, goes := newPods(t)
	sink := newSink(t, smtptest.Options{Addr: "127.0.0.9:0"})
	const messages = 30
	for i := range messages {
		goes.mustSend("a@sender.test", "b@nowhere.test", message("a@sender.test", fmt.Sprint("waits", i)))
	}
	goes.mustSend("a@sender.test", "b@held.test", message("a@sender.test", "held"))
	goes.mustSend("a@sender.test", "b@nowhere.test,c@other.test", message("a@sender.test", "large")+strings.Repeat("0123456789\n", 50_000))
	goes.act(admin.Hold, `{"domain": "held.test", "reason": "why not"}`)
	var directed admin.Directed
	if err := goes.ask(http.MethodPost, "/directives", `{"act": "suspend", "domain": "later.test", "reason": "wait", "seconds": 600}`, &directed); err != nil {
		t.Fatal(err)
	}
	id := goes.page("domain=held.test").Entries[0].ID
	before := goes.page("domain=held.test").Entries[0]

	handOver(goes, config.Peer{Pod: "out-0", Address: "127.0.0.2", Host: "out-0.invalid"})
	goes.eventually("the hand-off", func() bool {
		s := goes.status()
		return s.Queue.Queued == 0 && s.Handoff != nil && s.Handoff.Phase == status.HandoffDone
	})
	if err := goes.send("a@sender.test", "b@nowhere.test", message("a@sender.test", "late")); err == nil || !strings.Contains(err.Error(), "421") {
		t.Errorf("a pod that goes takes mail: %v", err)
	}
	const recipients = messages + 1 + 2
	if l := goes.status().Ledger; !l.Balanced() || l.HandedOut != recipients {
		t.Errorf("the books of the pod that goes: %+v", l)
	}
	if l := stays.status().Ledger; !l.Balanced() || l.HandedIn != recipients || l.Queued != recipients {
		t.Errorf("the books of the pod that stays: %+v", l)
	}
	for r, direction := range map[*rig]string{goes: "out", stays: "in"} {
		served := r.metrics()
		for _, want := range []string{
			fmt.Sprintf("postrider_ledger_handed_recipients_total{direction=%q} %d", direction, recipients),
			"postrider_ledger_difference_recipients 0",
		} {
			if !strings.Contains(served, "\n"+want+"\n") {
				t.Errorf("%s does not serve %s", r.pod, want)
			}
		}
	}
	if after := stays.page("domain=held.test").Entries[0]; after.ID != id || after.Held != before.Held || !after.Accepted.Equal(before.Accepted) || !after.Due().Equal(before.Due()) {
		t.Errorf("arrived as %+v, not %+v", after, before)
	}
	var d struct{ Directives []directive.Directive }
	if err := stays.ask(http.MethodGet, "/directives", "", &d); err != nil || !slices.ContainsFunc(d.Directives, func(o directive.Directive) bool { return o.ID == directed.ID }) {
		t.Errorf("it knows of %+v, %v", d.Directives, err)
	}
	for r, want := range map[*rig]event.Event{goes: {Type: event.HandedOut, Peer: "out-0"}, stays: {Type: event.HandedIn, Peer: "out-1"}} {
		var trace admin.Trace
		if err := r.ask(http.MethodGet, "/trace/"+string(id), "", &trace); err != nil {
			t.Fatal(err)
		}
		last := trace.Events[len(trace.Events)-1]
		if last.Type != want.Type || last.Peer != want.Peer {
			t.Errorf("%s tells of %+v", r.pod, last)
		}
		if fate := trace.Recipients[0]; r == stays && fate.State != envelope.Queued || r == goes && fate.Peer != "out-0" {
			t.Errorf("%s says that it is %+v", r.pod, fate)
		}
	}

	// What it took it delivers, each message once.
	stays.act(admin.Release, `{"domain": "held.test"}`)
	stays.routeTo(sink.Port())
	stays.configure()
	stays.eventually("the configuration to be in force", func() bool { return stays.status().Generation == stays.config.Generation })
	stays.act(admin.Flush, `{"all": true}`)
	stays.drained()
	if got := len(sink.Messages()); got != messages+1+2 {
		t.Errorf("%d messages arrived, not %d", got, messages+3)
	}
}

// TestRaisedAgain: a pod that is to stay after all takes mail at once, and keeps what no peer has.
func TestRaisedAgain(t *testing.T) {
	_, goes := newPods(t)
	goes.mustSend("a@sender.test", "b@nowhere.test", message("a@sender.test", "waits"))
	handOver(goes, config.Peer{Pod: "out-0", Address: "127.0.0.77", Host: "out-0.invalid"}) // nobody is there
	goes.eventually("trouble", func() bool {
		h := goes.status().Handoff
		return h != nil && h.Phase == status.HandoffWaiting && h.Problem != ""
	})
	goes.config.Relay.Cordoned, goes.config.Relay.Handoff = nil, nil
	goes.configure()
	goes.eventually("the pod to serve", func() bool { return goes.status().Generation == goes.config.Generation && goes.status().Handoff == nil })
	goes.mustSend("a@sender.test", "b@nowhere.test", message("a@sender.test", "welcome"))
	if l := goes.status().Ledger; l.Queued != 2 || l.HandedOut != 0 {
		t.Errorf("the books: %+v", l)
	}
}

// TestOnlySiblingsHandOver: the pods of another relay, whose certificate the same authority signed, may neither give mail
// nor ask how we are; and our own pods may not ask either.
func TestOnlySiblingsHandOver(t *testing.T) {
	ca := smtptest.NewCA()
	cert, key := ca.PairPEM(serverName)
	r := newRig(t, func(r *rig) {
		r.pod, r.bind = "out-0", "127.0.0.2"
		r.files["admin.crt"], r.files["admin.key"], r.files["ca.crt"] = cert, key, ca.PEM()
		r.config.Relay.Admin = &config.Admin{CertFile: "admin.crt", KeyFile: "admin.key", CAFile: "ca.crt", ServerName: serverName}
	})
	for _, tc := range []struct {
		client, path string
		port         int
		want         int
	}{
		{"operator", "/status", 8443, http.StatusOK}, {"operator", "/handoff/offer", 8443, http.StatusForbidden},
		{serverName, "/status", 8443, http.StatusForbidden}, {serverName, "/handoff/offer", 8443, http.StatusOK},
		{"other.test.relay.postrider.internal", "/handoff/offer", 8443, http.StatusForbidden},
		{"other.test.relay.postrider.internal", "/status", 8443, http.StatusForbidden},
		{"other.test.relay.postrider.internal", "/metrics", 9090, http.StatusUnauthorized},
		{"operator", "/metrics", 9090, http.StatusOK},
	} {
		secured := ca.ServerTLS(tc.client).Clone()
		secured.RootCAs, secured.ServerName = ca.Pool(), serverName
		client := http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: secured, DisableKeepAlives: true}}
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://127.0.0.2:%d%s", tc.port, tc.path), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Postrider-To", "out-0")
		var response *http.Response
		r.eventually("an answer", func() bool { response, err = client.Do(request); return err == nil })
		_ = response.Body.Close()
		if response.StatusCode != tc.want {
			t.Errorf("%s asks for %s: %s, want %d", tc.client, tc.path, response.Status, tc.want)
		}
	}
}

// TestAnotherRelayTakesOver: the pods of another relay take mail while their configuration names the giver, and no
// directive, which would be about their own mail too. What the giver began it may ask about ever after.
func TestAnotherRelayTakesOver(t *testing.T) {
	ca := smtptest.NewCA()
	const heirName = "other.test.relay.postrider.internal"
	pod := func(name, bind, serverName string) *rig {
		cert, key := ca.PairPEM(serverName)
		return newRig(t, func(r *rig) {
			r.routeTo(1) // where nobody listens
			r.domain("nowhere.test", "127.0.0.9")
			r.pod, r.bind = name, bind
			r.files["admin.crt"], r.files["admin.key"], r.files["ca.crt"] = cert, key, ca.PEM()
			r.config.Relay.Admin = &config.Admin{CertFile: "admin.crt", KeyFile: "admin.key", CAFile: "ca.crt", ServerName: serverName}
		})
	}
	goes, heir := pod("out-1", "127.0.0.3", serverName), pod("other-0", "127.0.0.2", heirName)
	goes.mustSend("a@sender.test", "b@nowhere.test", message("a@sender.test", "waits"))
	if err := goes.ask(http.MethodPost, "/directives", `{"act": "bounce", "domain": "later.test", "reason": "no", "seconds": 600}`, &admin.Directed{}); err != nil {
		t.Fatal(err)
	}
	handOver(goes, config.Peer{Pod: "other-0", ServerName: heirName, Address: "127.0.0.2", Host: "other-0.invalid"})
	goes.eventually("to be turned away", func() bool {
		h := goes.status().Handoff
		return h != nil && h.Phase == status.HandoffWaiting && strings.Contains(h.Problem, "does not open this door")
	})
	for path, want := range map[string]int{"/handoff/offer": http.StatusForbidden, "/handoff/lists": http.StatusForbidden, "/handoff/message": http.StatusForbidden,
		"/handoff/cancel": http.StatusBadRequest, "/handoff/forget": http.StatusBadRequest} {
		if got := knock(t, ca, serverName, heirName, path); got != want {
			t.Errorf("a relay of the same namespace that is not named: %s answers %d, want %d", path, got, want)
		}
		if got := knock(t, ca, "outbound.elsewhere.relay.postrider.internal", heirName, path); got != http.StatusForbidden {
			t.Errorf("a relay of another namespace: %s answers %d", path, got)
		}
	}

	heir.config.Relay.Givers = []string{serverName}
	heir.configure()
	goes.eventually("the hand-off", func() bool {
		s := goes.status()
		return s.Queue.Queued == 0 && s.Handoff != nil && s.Handoff.Phase == status.HandoffDone
	})
	if l := heir.status().Ledger; !l.Balanced() || l.HandedIn != 1 || l.Queued != 1 {
		t.Errorf("the books of the heir: %+v", l)
	}
	var d struct{ Directives []directive.Directive }
	if err := heir.ask(http.MethodGet, "/directives", "", &d); err != nil || len(d.Directives) > 0 {
		t.Errorf("the heir has the directives %+v, %v", d.Directives, err)
	}
}

// knock posts nothing to the door of a pod at 127.0.0.2, with the certificate of a relay.
func knock(t *testing.T, ca *smtptest.CA, as, at, path string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, "https://127.0.0.2:8443"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Postrider-To", "other-0")
	response, err := kin(ca, as, at).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// kin speaks with the certificate of one relay to another.
func kin(ca *smtptest.CA, as, to string) *http.Client {
	secured := ca.ServerTLS(as).Clone()
	secured.RootCAs, secured.ServerName = ca.Pool(), to
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: secured, DisableKeepAlives: true}}
}

// TestABoundMessageWaits: while it is not known whether a peer has a message, it is neither delivered nor changed, not
// even when the pod is to stay after all; once the peer has said no, it flows.
func TestABoundMessageWaits(t *testing.T) {
	ca := smtptest.NewCA()
	cert, key := ca.PairPEM(serverName)
	sink := newSink(t, smtptest.Options{Addr: "127.0.0.9:0"})
	r := newRig(t, func(r *rig) {
		r.pod, r.bind = "out-1", "127.0.0.3"
		r.files["admin.crt"], r.files["admin.key"], r.files["ca.crt"] = cert, key, ca.PEM()
		r.config.Relay.Admin = &config.Admin{CertFile: "admin.crt", KeyFile: "admin.key", CAFile: "ca.crt", ServerName: serverName}
		r.routeTo(1) // where nobody listens
		r.domain("nowhere.test", "127.0.0.9")
	})
	var given, settled atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/handoff/offer", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"pod": "out-0", "free": 1000000000}`))
	})
	mux.HandleFunc("/handoff/message", func(http.ResponseWriter, *http.Request) {
		given.Add(1)
		panic(http.ErrAbortHandler) // it may have arrived
	})
	mux.HandleFunc("/handoff/cancel", func(w http.ResponseWriter, _ *http.Request) {
		if settled.Load() == 0 {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(`{"verdict": "refused"}`))
	})
	listener, err := tls.Listen("tcp", "127.0.0.4:8443", ca.ServerTLS(serverName))
	if err != nil {
		t.Fatal(err)
	}
	peer := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = peer.Serve(listener) }() // until Close
	t.Cleanup(func() { _ = peer.Close() })

	r.mustSend("a@sender.test", "b@nowhere.test", message("a@sender.test", "bound"))
	handOver(r, config.Peer{Pod: "out-0", Address: "127.0.0.4", Host: "out-0.invalid"})
	r.eventually("the message to be given", func() bool { return given.Load() > 0 })
	bound := r.page("").Entries[0]
	r.config.Relay.Cordoned, r.config.Relay.Handoff = nil, nil
	r.configure()
	r.eventually("the pod to serve", func() bool { return r.status().Generation == r.config.Generation })
	for path, body := range map[string]string{"/queue/delete": `{"domain": "nowhere.test"}`, "/queue/flush": `{"all": true}`, "/queue/bounce": `{"all": true}`} {
		if _, err := r.fetch(http.MethodPost, path, body); err == nil || !strings.Contains(err.Error(), "handed to another pod") {
			t.Errorf("%s says %v", path, err)
		}
	}
	r.mustSend("a@sender.test", "b@nowhere.test", message("a@sender.test", "free"))
	r.eventually("what is not bound to be tried, again and again", func() bool {
		return slices.ContainsFunc(r.page("").Entries, func(e envelope.Envelope) bool { return e.ID != bound.ID && e.Attempts() >= 3 })
	})
	if now := r.page("id=" + string(bound.ID)).Entries[0]; now.Attempts() != bound.Attempts() || now.Due().After(time.Now()) {
		t.Errorf("what is bound was due, and tried %d times, %d before: due %v", now.Attempts(), bound.Attempts(), now.Due())
	}
	r.routeTo(sink.Port())
	r.configure()
	settled.Store(1)
	r.drained()
	if got := len(sink.Messages()); got != 2 || given.Load() != 1 {
		t.Errorf("%d messages arrived, one was given away %d times", got, given.Load())
	}
}

// TestACordonLetsTransactionsEnd: a message that is coming in when its pod is cordoned is accepted, and counted until
// then, so that the pod is not taken for empty; one that had not begun is not.
func TestACordonLetsTransactionsEnd(t *testing.T) {
	r := newRig(t, func(r *rig) { r.pod = "out-1"; r.routeTo(1); r.domain("nowhere.test", "127.0.0.9") })
	begin := func() *smtp.Client {
		c, err := smtp.Dial(r.address("smtp"))
		if err == nil {
			err = errors.Join(c.Mail("a@sender.test", nil), c.Rcpt("b@nowhere.test", nil))
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first, second := begin(), begin()
	body, err := first.Data()
	if err != nil {
		t.Fatal(err)
	}
	// More than a buffer, so that the header block is sent.
	if _, err := io.WriteString(body, "From: <a@sender.test>\r\n\r\n"+strings.Repeat("0123456789\r\n", 10_000)); err != nil {
		t.Fatal(err)
	}
	r.eventually("a message to be coming in", func() bool { return r.status().Receiving == 1 })
	r.config.Relay.Cordoned = []string{"out-1"}
	r.configure()
	r.eventually("the cordon", func() bool { return r.status().Generation == r.config.Generation })
	if s := r.status(); s.Receiving != 1 || s.Queue.Queued != 0 {
		t.Errorf("%d are coming in, %d queued", s.Receiving, s.Queue.Queued)
	}
	late, err := second.Data()
	if err == nil {
		_, err = io.WriteString(late, "From: <a@sender.test>\r\n\r\nx\r\n")
		err = errors.Join(err, late.Close())
	}
	if err == nil || !strings.Contains(err.Error(), "421") {
		t.Errorf("a message that begins under the cordon is answered %v", err)
	}
	if err := body.Close(); err != nil {
		t.Errorf("what had begun is refused: %v", err)
	}
	if s := r.status(); s.Receiving != 0 || s.Queue.Queued != 1 {
		t.Errorf("%d are coming in, %d queued", s.Receiving, s.Queue.Queued)
	}
}

// TestACordonLetsPeersEnd: the same of a message that a peer is handing over.
func TestACordonLetsPeersEnd(t *testing.T) {
	ca := smtptest.NewCA()
	cert, key := ca.PairPEM(serverName)
	r := newRig(t, func(r *rig) {
		r.routeTo(1) // where nobody listens
		r.pod, r.bind = "out-1", "127.0.0.2"
		r.files["admin.crt"], r.files["admin.key"], r.files["ca.crt"] = cert, key, ca.PEM()
		r.config.Relay.Admin = &config.Admin{CertFile: "admin.crt", KeyFile: "admin.key", CAFile: "ca.crt", ServerName: serverName}
	})
	e := envelope.Envelope{ID: "0000000000000001", Domain: "nowhere.test", ReversePath: "a@sender.test", Size: 8, Accepted: time.Now(),
		Recipients: []envelope.Recipient{{Address: "b@nowhere.test", State: envelope.Queued, Due: time.Now().Add(time.Hour)}}}
	letter := fmt.Sprintf(`{"key": "k", "from": "out-0", "id": %q, "size": 8, "entries": [{"domain": "nowhere.test", "record": %q}]}`,
		e.ID, base64.StdEncoding.EncodeToString(spool.EncodeEntry(&e)))
	content, more := io.Pipe()
	request, err := http.NewRequest(http.MethodPost, "https://127.0.0.2:8443/handoff/message", io.MultiReader(strings.NewReader(letter), content))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Postrider-To", "out-1")
	request.Header.Set("Postrider-Letter", strconv.Itoa(len(letter)))
	answered := make(chan error, 1)
	go func() { // until it is answered
		response, err := kin(ca, serverName, serverName).Do(request)
		if err == nil {
			err = response.Body.Close()
		}
		answered <- err
	}()
	r.eventually("a message to be coming in", func() bool { return r.status().Receiving == 1 })
	r.config.Relay.Cordoned = []string{"out-1"}
	r.configure()
	r.eventually("the cordon", func() bool { return r.status().Generation == r.config.Generation })
	if s := r.status(); s.Receiving != 1 || s.Queue.Queued != 0 {
		t.Errorf("%d are coming in, %d queued", s.Receiving, s.Queue.Queued)
	}
	_, err = more.Write([]byte("12345678"))
	if err := errors.Join(err, more.Close(), <-answered); err != nil {
		t.Error(err)
	}
	if s := r.status(); s.Receiving != 0 || s.Queue.Queued != 1 {
		t.Errorf("%d are coming in, %d queued", s.Receiving, s.Queue.Queued)
	}
}
