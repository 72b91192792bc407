package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/postrider/postrider/relay/envelope"
)

// Suppressions is what can be asked and told about suppression lists.
type Suppressions interface {
	// Suppressions returns a page of what is in force.
	Suppressions(SuppressionQuery) (SuppressionPage, error)
	// Suppress lists a recipient and records that in the log. ErrNoSuppression when the domain has no list.
	Suppress(SuppressionOrder) (Suppression, error)
	// Unsuppress takes a recipient off a list and records that in the log; false when it was not there.
	Unsuppress(SuppressionOrder) (bool, error)
}

// ErrNoSuppression says that no list can be added to.
var ErrNoSuppression = errors.New("no SendingDomain of that name here has spec.suppression")

// Suppression is a recipient on the list of a SendingDomain.
type Suppression struct {
	Domain  string `json:"domain"`
	Address string `json:"address"`
	// Reason is the reply that it was listed for, or what an admin said.
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
}

// SuppressionQuery selects entries; with an empty Domain those of all.
type SuppressionQuery struct {
	Domain string
	Limit  int    // at most MaxPage
	After  string // SuppressionPage.Next of the page before
}

// SuppressionPage is a part of the lists, ordered by domain and address.
type SuppressionPage struct {
	Entries []Suppression `json:"entries"`
	// Next is the After of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
}

// SuppressionOrder names a recipient, with what is to be said about it when it is added.
type SuppressionOrder struct {
	Domain  string `json:"domain"`
	Address string `json:"address"`
	Reason  string `json:"reason,omitempty"`
	// Seconds is for how long; 0 for what the SendingDomain says.
	Seconds int64 `json:"seconds,omitempty"`
}

// MaxSuppressionSeconds is ten years.
const MaxSuppressionSeconds = 10 * 365 * 24 * 3600

// maxReason bounds what an admin says about a recipient, in octets.
const maxReason = 500

// Check says what is wrong with an order; nil when nothing is. It brings the domain and the address into the form in
// which mail names them.
func (o *SuppressionOrder) Check() error {
	domain, err := envelope.ParseDomain(o.Domain)
	if err != nil {
		return errors.New("domain must be that of a SendingDomain")
	}
	address, err := envelope.ParseAddressUTF8(o.Address)
	if err != nil {
		return errors.New("address: " + err.Error())
	}
	if len(o.Reason) > maxReason || strings.ContainsFunc(o.Reason, unicode.IsControl) {
		return fmt.Errorf("reason must be one line of at most %d octets: senders read it", maxReason)
	}
	if o.Seconds < 0 || o.Seconds > MaxSuppressionSeconds {
		return errors.New("seconds must be from 1 to ten years, or 0 for what the SendingDomain says")
	}
	o.Domain, o.Address = domain, address.String()
	return nil
}

func serveSuppressions(mux *http.ServeMux, s Suppressions) {
	mux.HandleFunc("GET /suppressions", func(w http.ResponseWriter, req *http.Request) {
		limit, err := parseLimit(req)
		if err != nil {
			refuse(w, err)
			return
		}
		v := req.URL.Query()
		page, err := s.Suppressions(SuppressionQuery{Domain: strings.ToLower(v.Get("domain")), After: v.Get("after"), Limit: limit})
		respond(w, page, err)
	})
	mux.HandleFunc("POST /suppressions/add", func(w http.ResponseWriter, req *http.Request) {
		order, err := parseSuppression(req)
		if err != nil {
			refuse(w, err)
			return
		}
		added, err := s.Suppress(order)
		if errors.Is(err, ErrNoSuppression) {
			refuse(w, err)
			return
		}
		respond(w, added, err)
	})
	mux.HandleFunc("POST /suppressions/remove", func(w http.ResponseWriter, req *http.Request) {
		order, err := parseSuppression(req)
		if err != nil {
			refuse(w, err)
			return
		}
		removed, err := s.Unsuppress(order)
		respond(w, map[string]bool{"removed": removed}, err)
	})
}

func parseSuppression(req *http.Request) (SuppressionOrder, error) {
	var o SuppressionOrder
	d := json.NewDecoder(http.MaxBytesReader(nil, req.Body, 1<<16))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, errors.New("the body must be a JSON object with domain, address, reason and seconds: " + err.Error())
	}
	return o, o.Check()
}
