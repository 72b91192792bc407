package admin

import (
	"net/http"
	"strings"
	"testing"
)

// lists answers for scripted about suppressions.
type lists struct {
	query SuppressionQuery
	order SuppressionOrder
}

func (l *lists) Suppressions(q SuppressionQuery) (SuppressionPage, error) {
	l.query = q
	return SuppressionPage{Entries: []Suppression{{Domain: "news.example", Address: "bob@example.com"}}, Next: "more"}, nil
}

func (l *lists) Suppress(o SuppressionOrder) (Suppression, error) {
	l.order = o
	if o.Domain == "bare.example" {
		return Suppression{}, ErrNoSuppression
	}
	return Suppression{Domain: o.Domain, Address: o.Address, Reason: o.Reason}, nil
}

func (l *lists) Unsuppress(o SuppressionOrder) (bool, error) {
	l.order = o
	return o.Address == "bob@example.com", nil
}

func TestSuppressions(t *testing.T) {
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		want                     string
	}{
		{"list", "GET", "/suppressions?domain=News.example&limit=5&after=x", "", 200, `"next":"more"`},
		{"list, bad limit", "GET", "/suppressions?limit=1001", "", 400, "limit must be a number from 1 to 1000"},
		{"add", "POST", "/suppressions/add", `{"domain":"News.Example","address":"bob@EXAMPLE.com","reason":"asked to","seconds":60}`, 200, `"reason":"asked to"`},
		{"add, no list", "POST", "/suppressions/add", `{"domain":"bare.example","address":"bob@example.com"}`, 400, "spec.suppression"},
		{"add, no domain", "POST", "/suppressions/add", `{"address":"bob@example.com"}`, 400, "domain must be"},
		{"add, no address", "POST", "/suppressions/add", `{"domain":"news.example","address":"bob"}`, 400, "address: "},
		{"add, for ever", "POST", "/suppressions/add", `{"domain":"news.example","address":"bob@example.com","seconds":999999999999}`, 400, "ten years"},
		{"add, for less than nothing", "POST", "/suppressions/add", `{"domain":"news.example","address":"bob@example.com","seconds":-1}`, 400, "seconds must be"},
		{"add, lines", "POST", "/suppressions/add", `{"domain":"news.example","address":"bob@example.com","reason":"a\nb"}`, 400, "one line"},
		{"add, a novel", "POST", "/suppressions/add", `{"domain":"news.example","address":"bob@example.com","reason":"` + strings.Repeat("x", 501) + `"}`, 400, "one line"},
		{"add, unknown field", "POST", "/suppressions/add", `{"all":true}`, 400, "unknown field"},
		{"remove", "POST", "/suppressions/remove", `{"domain":"news.example","address":"bob@Example.com"}`, 200, `"removed":true`},
		{"remove, not there", "POST", "/suppressions/remove", `{"domain":"news.example","address":"eve@example.com"}`, 200, `"removed":false`},
		{"remove nothing", "POST", "/suppressions/remove", `{}`, 400, "domain must be"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(Socket(&scripted{}, http.NotFoundHandler()), c.method, c.path, c.body)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("got %d %s; want %d with %q", w.Code, w.Body, c.code, c.want)
			}
		})
	}
}

// TestSuppressionsReachTheRelay: in the form in which mail names domains and addresses.
func TestSuppressionsReachTheRelay(t *testing.T) {
	r := &scripted{}
	h := Socket(r, http.NotFoundHandler())
	ask(h, "POST", "/suppressions/add", `{"domain":"News.Example","address":"Bob@bücher.EXAMPLE","reason":"why","seconds":60}`)
	if r.lists.order != (SuppressionOrder{Domain: "news.example", Address: "Bob@xn--bcher-kva.example", Reason: "why", Seconds: 60}) {
		t.Errorf("the relay was told %+v", r.lists.order)
	}
	ask(h, "GET", "/suppressions?domain=News.example&after=x", "")
	if r.lists.query != (SuppressionQuery{Domain: "news.example", After: "x", Limit: DefaultPage}) {
		t.Errorf("the relay was asked %+v", r.lists.query)
	}
}
