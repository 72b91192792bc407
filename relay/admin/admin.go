// Package admin owns the doors through which a relay is watched and steered: the Unix socket of the pod, the
// operator's port, the metrics port and the health port. It holds no state and decides nothing about mail.
package admin

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/status"
)

// Relay is what can be asked of a relay.
type Relay interface {
	// Status is the relay's report, made anew.
	Status() status.Status
	// Ready says why the relay must not be sent mail; nil when it may.
	Ready() error
	// List returns a page of the queue.
	List(Query) (Page, error)
	// Show returns what is known of a message; ErrNotFound when it is not in the queue.
	Show(id envelope.ID) (Detail, error)
	// Ages counts the queue by age, for up to limit destinations.
	Ages(limit int) (Ages, error)
	// Act does something to entries of the queue and records it in the log.
	Act(Act, Selection) (Result, error)
	Whereabouts
	Suppressions
}

// ErrNotFound says that nothing is known of what was asked for.
var ErrNotFound = errors.New("no such message in the queue")

// Query selects entries. Empty fields match all.
type Query struct {
	ID     envelope.ID
	Domain string // recipients' domain
	Sender string // reverse path, or its domain
	Held   *bool
	Limit  int    // entries per page; at most MaxPage
	After  string // Page.Next of the page before
}

// DefaultPage and MaxPage are numbers of entries.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// Page is a part of the queue, ordered by destination and time.
type Page struct {
	Entries []envelope.Envelope `json:"entries"`
	// Next is the After of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
}

// Detail is one message.
type Detail struct {
	Entries []envelope.Envelope `json:"entries"`
	// Header is the message's header block as it will be sent.
	Header string `json:"header"`
}

// Act is something an admin does to entries.
type Act string

// The acts. Each is recorded in the log with its selection and reason.
const (
	Flush   Act = "flush"   // attempt now
	Hold    Act = "hold"    // keep back until released
	Release Act = "release" // undo Hold
	Delete  Act = "delete"  // remove without notice
	Bounce  Act = "bounce"  // fail, with a DSN to the sender
)

// Acts are all of them.
func Acts() []Act { return []Act{Flush, Hold, Release, Delete, Bounce} }

// Selection says on what an Act works. At least one of ID, Domain, Sender and All is required.
type Selection struct {
	ID     envelope.ID `json:"id,omitempty"`
	Domain string      `json:"domain,omitempty"`
	Sender string      `json:"sender,omitempty"`
	All    bool        `json:"all,omitempty"`
	Reason string      `json:"reason,omitempty"`
	// DryRun only counts what the act would change. A relay that does not know it refuses.
	DryRun bool `json:"dryRun,omitempty"`
}

// Result counts what an Act changed.
type Result struct {
	Entries    int `json:"entries"`
	Recipients int `json:"recipients"`
}

// Socket serves the whole interface: for the Unix socket, which only the pod's own user can open.
func Socket(r Relay, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { respond(w, r.Status(), nil) })
	mux.HandleFunc("GET /queue", func(w http.ResponseWriter, req *http.Request) {
		query, err := parseQuery(req)
		if err != nil {
			refuse(w, err)
			return
		}
		page, err := r.List(query)
		respond(w, page, err)
	})
	mux.HandleFunc("GET /queue/{id}", func(w http.ResponseWriter, req *http.Request) {
		detail, err := r.Show(envelope.ID(req.PathValue("id")))
		respond(w, detail, err)
	})
	for _, act := range Acts() {
		mux.HandleFunc("POST /queue/"+string(act), func(w http.ResponseWriter, req *http.Request) {
			selection, err := parseSelection(req)
			if err != nil {
				refuse(w, err)
				return
			}
			result, err := r.Act(act, selection)
			respond(w, result, err)
		})
	}
	serveAges(mux, r)
	serveWhereabouts(mux, r)
	serveSuppressions(mux, r)
	serveProfiles(mux)
	return mux
}

// Operator serves the report. The server in front of it has verified the client's certificate.
func Operator(r Relay) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { respond(w, r.Status(), nil) })
	return mux
}

// Metrics serves metrics to a client with a verified certificate or with the bearer token (RFC 6750). An empty
// token admits nobody.
func Metrics(metrics http.Handler, token func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !verified(req) && !bears(req, token()) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="metrics"`)
			http.Error(w, "a client certificate or a bearer token is required", http.StatusUnauthorized)
			return
		}
		metrics.ServeHTTP(w, req)
	})
}

// relaySuffix is how the names in the certificates of relays' pods end. All are of the same authority: only the name
// tells whose they are.
const relaySuffix = ".relay.postrider.internal"

// verified says that the client is the operator: its certificate is ours, and no relay's.
func verified(req *http.Request) bool {
	return req.TLS != nil && len(req.TLS.VerifiedChains) > 0 && !slices.ContainsFunc(req.TLS.PeerCertificates[0].DNSNames,
		func(name string) bool { return strings.HasSuffix(name, relaySuffix) })
}

// Kin are the relays whose pods may come to the door of the hand-off, by the names in their certificates.
type Kin struct {
	// Self is our own relay; empty for none.
	Self string
	// Givers are others that give us their mail.
	Givers []string
}

// gives says that the client is a pod of our relay, or of one that gives us its mail.
func (k Kin) gives(req *http.Request) bool {
	return k.any(req, func(name string) bool { return name == k.Self || slices.Contains(k.Givers, name) })
}

// settles says that the client is a pod of a relay in our namespace. What it began while it might give mail it may ask
// about ever after: until it knows what became of a message, that can go nowhere.
func (k Kin) settles(req *http.Request) bool {
	return k.any(req, func(name string) bool {
		_, theirs, _ := strings.Cut(name, ".")
		_, ours, _ := strings.Cut(k.Self, ".")
		return theirs == ours
	})
}

// any says that the client shows a certificate of ours for a relay that fits.
func (k Kin) any(req *http.Request, fits func(name string) bool) bool {
	return strings.HasSuffix(k.Self, relaySuffix) && req.TLS != nil && len(req.TLS.VerifiedChains) > 0 &&
		slices.ContainsFunc(req.TLS.PeerCertificates[0].DNSNames, func(name string) bool {
			return strings.HasSuffix(name, relaySuffix) && fits(name)
		})
}

// Secured serves those whose certificate the server in front of it has verified: the operator, and at /handoff/ the pods
// of kin. One relay's key opens no other relay's door, but for what its mail was given away with.
func Secured(operator, peers http.Handler, kin func() Kin) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/handoff/", only(func(req *http.Request) bool { return kin().gives(req) }, peers))
	for _, path := range []string{"/handoff/cancel", "/handoff/forget"} {
		mux.Handle(path, only(func(req *http.Request) bool { return kin().settles(req) }, peers))
	}
	mux.Handle("/", only(verified, operator))
	return mux
}

func only(admitted func(*http.Request) bool, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !admitted(req) {
			http.Error(w, "this certificate does not open this door", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, req)
	})
}

func bears(req *http.Request, token string) bool {
	shown, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	return ok && token != "" && subtle.ConstantTimeCompare([]byte(shown), []byte(token)) == 1
}

// Health serves the kubelet's probes.
func Health(r Relay) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := r.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}

func parseQuery(req *http.Request) (Query, error) {
	v := req.URL.Query()
	q := Query{
		ID:     envelope.ID(v.Get("id")),
		Domain: strings.ToLower(v.Get("domain")),
		Sender: v.Get("sender"),
		After:  v.Get("after"),
	}
	if q.After != "" && !strings.Contains(q.After, "/") {
		return q, errors.New("after must be the next of the page before, DOMAIN/ID")
	}
	var err error
	if q.Limit, err = parseLimit(req); err != nil {
		return q, err
	}
	if s := v.Get("held"); s != "" {
		held, err := strconv.ParseBool(s)
		if err != nil {
			return q, errors.New("held must be true or false")
		}
		q.Held = &held
	}
	return q, nil
}

func parseLimit(req *http.Request) (int, error) {
	s := req.URL.Query().Get("limit")
	if s == "" {
		return DefaultPage, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > MaxPage {
		return 0, errors.New("limit must be a number from 1 to " + strconv.Itoa(MaxPage))
	}
	return n, nil
}

func parseSelection(req *http.Request) (Selection, error) {
	var s Selection
	d := json.NewDecoder(http.MaxBytesReader(nil, req.Body, 1<<16))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, errors.New("the body must be a JSON object with id, domain, sender or all: " + err.Error())
	}
	if s.ID == "" && s.Domain == "" && s.Sender == "" && !s.All {
		return s, errors.New(`nothing is selected; give id, domain or sender, or "all": true`)
	}
	return s, nil
}

func respond(w http.ResponseWriter, answer any, err error) {
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, directive.ErrNotFound):
		writeJSON(w, http.StatusNotFound, map[string]string{"error": err.Error()})
	case errors.Is(err, directive.ErrTooMany):
		writeJSON(w, http.StatusConflict, map[string]string{"error": err.Error()})
	case err != nil:
		writeJSON(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
	default:
		writeJSON(w, http.StatusOK, answer)
	}
}

func refuse(w http.ResponseWriter, err error) {
	writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
}

func writeJSON(w http.ResponseWriter, code int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer) // the client is gone when this fails
}
