package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/status"
)

// scripted answers what a test told it to, and remembers what it was asked.
type scripted struct {
	ready     error
	query     Query
	act       Act
	selection Selection
	order     directive.Order
	lists
}

func (s *scripted) Status() status.Status { return status.Status{Pod: "outbound-0", Generation: 7} }
func (s *scripted) Ready() error          { return s.ready }
func (s *scripted) List(q Query) (Page, error) {
	s.query = q
	return Page{Entries: []envelope.Envelope{{ID: "A", Domain: "example.com"}}, Next: "example.com/A"}, nil
}
func (s *scripted) Show(id envelope.ID) (Detail, error) {
	if id != "A" {
		return Detail{}, ErrNotFound
	}
	return Detail{Header: "Subject: hello\r\n"}, nil
}
func (s *scripted) Ages(limit int) (Ages, error) {
	return Ages{Bounds: AgeBounds(), Destinations: make([]DestinationAges, limit)}, nil
}
func (s *scripted) Act(a Act, sel Selection) (Result, error) {
	s.act, s.selection = a, sel
	return Result{Entries: 1, Recipients: 2}, nil
}

func (s *scripted) Explain(q Question) (Explanations, error) {
	if q.ID == "B" {
		return Explanations{}, ErrNotFound
	}
	return Explanations{Explanations: []Explanation{{Domain: q.Domain, ID: q.ID, Reason: status.Held}}}, nil
}
func (s *scripted) Trace(id envelope.ID) (Trace, error) { return Trace{ID: id}, nil }
func (s *scripted) Directives() []directive.Directive {
	return []directive.Directive{{ID: "d1", Act: directive.Hold}}
}
func (s *scripted) Direct(o directive.Order) (Directed, error) {
	s.order = o
	return Directed{Directive: directive.Directive{ID: "d2"}, Result: Result{Recipients: 3}}, nil
}
func (s *scripted) EndDirective(id string) (Directed, error) {
	if id != "d1" {
		return Directed{}, directive.ErrNotFound
	}
	return Directed{Directive: directive.Directive{ID: id}}, nil
}

func ask(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

func TestSocket(t *testing.T) {
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		want                     string
	}{
		{"status", "GET", "/status", "", 200, `"generation":7`},
		{"metrics", "GET", "/metrics", "", 200, "metrics"},
		{"list", "GET", "/queue?domain=Example.com&limit=5", "", 200, `"next":"example.com/A"`},
		{"list, bad limit", "GET", "/queue?limit=0", "", 400, "limit must be a number from 1 to 1000"},
		{"list, bad held", "GET", "/queue?held=maybe", "", 400, "held must be true or false"},
		{"show", "GET", "/queue/A", "", 200, "Subject: hello"},
		{"show, unknown", "GET", "/queue/B", "", 404, "no such message"},
		{"act", "POST", "/queue/hold", `{"domain":"example.com","reason":"migration"}`, 200, `"recipients":2`},
		{"act on nothing", "POST", "/queue/delete", `{}`, 400, "nothing is selected"},
		{"act, unknown field", "POST", "/queue/delete", `{"everything":true}`, 400, "unknown field"},
		{"list, bad after", "GET", "/queue?after=nonsense", "", 400, "after must be the next of the page before"},
		{"ages", "GET", "/queue/ages?limit=2", "", 200, `"bounds":[60,`},
		{"ages, bad limit", "GET", "/queue/ages?limit=x", "", 400, "limit must be a number from 1 to 1000"},
		{"explain a domain", "GET", "/explain?domain=Example.com", "", 200, `"domain":"example.com"`},
		{"explain a message", "GET", "/explain?id=A", "", 200, `"reason":"Held"`},
		{"explain what is not queued", "GET", "/explain?id=B", "", 404, "no such message"},
		{"explain nothing", "GET", "/explain", "", 400, "name either domain or id"},
		{"trace", "GET", "/trace/A", "", 200, `"id":"A"`},
		{"directives", "GET", "/directives", "", 200, `"id":"d1"`},
		{"direct", "POST", "/directives", `{"act":"suspend","domain":"example.com","reason":"migration","seconds":60}`, 200, `"recipients":3`},
		{"direct without a reason", "POST", "/directives", `{"act":"suspend","all":true,"seconds":60}`, 400, "a reason is required"},
		{"end a directive", "DELETE", "/directives/d1", "", 200, `"id":"d1"`},
		{"end what there is not", "DELETE", "/directives/d9", "", 404, "no such directive"},
		{"profiles", "GET", "/debug/pprof/goroutine?debug=1", "", 200, "goroutine profile: total"},
		{"unknown act", "POST", "/queue/explode", `{"all":true}`, 405, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("metrics")) })
			w := ask(Socket(&scripted{}, metrics), c.method, c.path, c.body)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("got %d %s; want %d with %q", w.Code, w.Body, c.code, c.want)
			}
		})
	}
}

func TestSelectionReachesTheRelay(t *testing.T) {
	r := &scripted{}
	ask(Socket(r, http.NotFoundHandler()), "POST", "/queue/bounce", `{"id":"A","reason":"wrong list"}`)
	if r.act != Bounce || r.selection != (Selection{ID: "A", Reason: "wrong list"}) {
		t.Errorf("the relay was told %s %+v", r.act, r.selection)
	}
	ask(Socket(r, http.NotFoundHandler()), "GET", "/queue?domain=Example.COM&held=true", "")
	if r.query.Domain != "example.com" || r.query.Held == nil || !*r.query.Held || r.query.Limit != DefaultPage {
		t.Errorf("the relay was asked %+v", r.query)
	}
}

func TestOperatorSeesStatusOnly(t *testing.T) {
	h := Operator(&scripted{})
	var s status.Status
	if w := ask(h, "GET", "/status", ""); json.Unmarshal(w.Body.Bytes(), &s) != nil || s.Pod != "outbound-0" {
		t.Errorf("status: %d %s", w.Code, w.Body)
	}
	if w := ask(h, "POST", "/queue/delete", `{"all":true}`); w.Code != 404 {
		t.Errorf("the operator's port answered an act with %d", w.Code)
	}
}

// TestProfilesStandOnTheSocketAlone: they tell too much for a port.
func TestProfilesStandOnTheSocketAlone(t *testing.T) {
	for name, h := range map[string]http.Handler{"operator": Operator(&scripted{}), "health": Health(&scripted{})} {
		if w := ask(h, "GET", "/debug/pprof/goroutine?debug=1", ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

func TestMetricsNeedCredentials(t *testing.T) {
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {})
	for _, c := range []struct {
		name, token, header string
		code                int
	}{
		{"none", "secret", "", 401},
		{"wrong", "secret", "Bearer guess", 401},
		{"right", "secret", "Bearer secret", 200},
		{"no token set, none shown", "", "Bearer ", 401},
		{"another scheme", "secret", "Basic secret", 401},
	} {
		w := ask(Metrics(ok, func() string { return c.token }), "GET", "/metrics", "", "Authorization", c.header)
		if w.Code != c.code {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.code)
		}
	}
}

func TestHealth(t *testing.T) {
	if w := ask(Health(&scripted{}), "GET", "/readyz", ""); w.Code != 200 {
		t.Errorf("ready: %d", w.Code)
	}
	h := Health(&scripted{ready: errors.New("no configuration yet")})
	if w := ask(h, "GET", "/readyz", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "no configuration yet") {
		t.Errorf("not ready: %d %s", w.Code, w.Body)
	}
	if w := ask(h, "GET", "/healthz", ""); w.Code != 200 {
		t.Errorf("alive: %d", w.Code)
	}
}
