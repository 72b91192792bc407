package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/status"
)

// Whereabouts is what can be asked about mail, and what can be told about mail to come.
type Whereabouts interface {
	// Explain says why mail waits: that for a domain, or one message. ErrNotFound when none is queued.
	Explain(Question) (Explanations, error)
	// Trace returns the life of a message; ErrNotFound when it is neither queued nor remembered.
	Trace(id envelope.ID) (Trace, error)
	// Directives are those in force, the oldest first.
	Directives() []directive.Directive
	// Direct puts a directive in force and applies it to what is queued.
	Direct(directive.Order) (Directed, error)
	// EndDirective ends one early and undoes what can be undone. directive.ErrNotFound when there is none.
	EndDirective(id string) (Directed, error)
}

// Question names what is to be explained: a domain or a message.
type Question struct {
	Domain string
	ID     envelope.ID
}

// Explanations say why mail waits, the reason of the oldest mail first.
type Explanations struct {
	Explanations []Explanation `json:"explanations"`
	// Partial says that there is more mail than was looked at.
	Partial bool `json:"partial,omitempty"`
}

// Explanation is one reason and the mail that it keeps. Where that is several entries, what is said is that of the
// oldest.
type Explanation struct {
	Domain string `json:"domain"`
	// ID is the oldest message that waits for the reason.
	ID envelope.ID `json:"id"`
	// Entries and Recipients count what waits for it, as far as was looked.
	Entries    int `json:"entries"`
	Recipients int `json:"recipients"`
	// Reason is one of the closed set that status knows, too.
	Reason status.Reason `json:"reason"`
	// Since is when the reason began to hold.
	Since time.Time `json:"since"`
	// Due is when the next attempt may begin; nil when that depends on an admin or on other mail.
	Due      *time.Time `json:"due,omitempty"`
	Attempts int        `json:"attempts"`
	// NextHop and Reply are those of the last attempt, if one has ended.
	NextHop string `json:"nextHop,omitempty"`
	Reply   string `json:"reply,omitempty"`
	// Policy is the RateLimitPolicy that binds.
	Policy string `json:"policy,omitempty"`
	// Directive is what an admin told the relay.
	Directive *directive.Directive `json:"directive,omitempty"`
	// Sentence says it to people.
	Sentence string `json:"sentence"`
}

// Trace is the life of a message.
type Trace struct {
	ID envelope.ID `json:"id"`
	// Recipients are what became of each.
	Recipients []Fate `json:"recipients"`
	// Events are what happened, the oldest first, as far back as the journal goes.
	Events []event.Event `json:"events"`
	// Waiting explains what is still queued.
	Waiting []Explanation `json:"waiting,omitempty"`
	// Reports are the DSNs about it.
	Reports []Trace `json:"reports,omitempty"`
}

// Fate is where a recipient is in its life.
type Fate struct {
	Recipient string `json:"recipient"`
	// State is its disposition; empty when that is not known any more.
	State envelope.Disposition `json:"state"`
	// At is when it came about; of a queued recipient, when it was accepted.
	At time.Time `json:"at"`
	// Reply is the last one, if there was any.
	Reply string `json:"reply,omitempty"`
	// Peer is the pod that has it now, if it was handed over and State is not known here.
	Peer string `json:"peer,omitempty"`
}

// Directed is a directive and what it, or its end, changed in the queue.
type Directed struct {
	directive.Directive
	Result
}

func serveWhereabouts(mux *http.ServeMux, r Whereabouts) {
	mux.HandleFunc("GET /explain", func(w http.ResponseWriter, req *http.Request) {
		q := Question{Domain: strings.ToLower(req.URL.Query().Get("domain")), ID: envelope.ID(req.URL.Query().Get("id"))}
		if (q.Domain == "") == (q.ID == "") {
			refuse(w, errors.New("name either domain or id"))
			return
		}
		answer, err := r.Explain(q)
		respond(w, answer, err)
	})
	mux.HandleFunc("GET /trace/{id}", func(w http.ResponseWriter, req *http.Request) {
		trace, err := r.Trace(envelope.ID(req.PathValue("id")))
		respond(w, trace, err)
	})
	mux.HandleFunc("GET /directives", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, map[string]any{"directives": r.Directives()}, nil)
	})
	mux.HandleFunc("POST /directives", func(w http.ResponseWriter, req *http.Request) {
		order, err := parseOrder(req)
		if err != nil {
			refuse(w, err)
			return
		}
		directed, err := r.Direct(order)
		respond(w, directed, err)
	})
	mux.HandleFunc("DELETE /directives/{id}", func(w http.ResponseWriter, req *http.Request) {
		directed, err := r.EndDirective(req.PathValue("id"))
		respond(w, directed, err)
	})
}

func parseOrder(req *http.Request) (directive.Order, error) {
	var o directive.Order
	d := json.NewDecoder(http.MaxBytesReader(nil, req.Body, 1<<16))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, errors.New("the body must be a JSON object with act, domain, sender or all, reason and seconds: " + err.Error())
	}
	return o, o.Check()
}
