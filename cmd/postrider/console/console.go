// Package console owns a small web site that shows relays: their queues by destination and age, why mail waits, DNS records to
// publish, and the life of a message. It only reads. It refuses to know how relays are reached, and to answer anybody who
// does not know its address.
package console

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/cmd/postrider/heat"
	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/status"
)

// Source is where the console reads.
type Source interface {
	// Relays are all that can be looked at.
	Relays(ctx context.Context) ([]*v1alpha1.MailRelay, error)
	// Relay is one of them. What could not be asked is said in it; the error says that there is no such relay.
	Relay(ctx context.Context, name string) (*Relay, error)
	// Trace is what the relay's processes know of a message; nothing when it is not known.
	Trace(ctx context.Context, name, id string) ([]Trace, error)
	// Why is what the relay's processes say of why mail for a domain waits; nothing when none does.
	Why(ctx context.Context, name, domain string) ([]Why, error)
}

// Relay is a relay, and what its processes say.
type Relay struct {
	Object    *v1alpha1.MailRelay
	Processes []status.Status
	Queue     heat.Map
	Domains   []Domain
	// Problems are what could not be asked.
	Problems []string
}

// Domain is a SendingDomain and its records.
type Domain struct {
	Object  *v1alpha1.SendingDomain
	Records []Record
}

// Lacks says that there is something to publish which DNS does not have.
func (d Domain) Lacks() bool {
	return slices.ContainsFunc(d.Records, func(r Record) bool { return len(r.Values) > 0 && r.Result != v1alpha1.ResultPass })
}

// Record is a DNS record.
type Record struct {
	v1alpha1.DNSRecord
	// Values are those to publish; none when nothing has to be.
	Values []Value
}

// Value is a value of a DNS record.
type Value struct {
	// Text is the whole value, Line the line of a zone file that publishes it.
	Text, Line string
}

// Trace is what one process knows of a message.
type Trace struct {
	Process string
	admin.Trace
}

// Why is what one process says of why mail waits.
type Why struct {
	Process string
	admin.Explanations
}

//go:embed assets
var assets embed.FS

// Site serves the console to who comes to its host with its token.
type Site struct {
	source    Source
	host      string
	token     string
	log       *slog.Logger
	templates *template.Template
	now       func() time.Time
}

// New makes a site for a host, ADDRESS:PORT as it listens on.
func New(source Source, host string, log *slog.Logger) (*Site, error) {
	s := &Site{source: source, host: host, token: rand.Text(), log: log, now: time.Now}
	var err error
	s.templates, err = template.New("").Funcs(s.functions()).ParseFS(assets, "assets/*.html")
	return s, err
}

// URL is where the site is. Who has it can read.
func (s *Site) URL() string { return "http://" + s.host + s.root() }

func (s *Site) root() string { return "/" + s.token + "/" }

// contentPolicy lets nothing in but the site's own style and script, and the site into no frame.
const contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP implements http.Handler. A page of another site can neither read (it doesn't know the token, nor may it come under
// a name of its own, which would be DNS rebinding) nor change anything: there is nothing to change.
func (s *Site) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	token, path, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	switch {
	case req.Host != s.host:
		http.Error(w, "this console answers under "+s.host+" only", http.StatusMisdirectedRequest)
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
		http.Error(w, "this console only reads", http.StatusMethodNotAllowed)
	case subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) != 1:
		http.Error(w, "open the console by the address that postrider console prints", http.StatusNotFound)
	case strings.HasPrefix(path, "assets/") && !strings.HasSuffix(path, ".html"):
		http.ServeFileFS(w, req, assets, path)
	default:
		s.page(w, req, path)
	}
}

// relayPath is what the path of a page about a relay looks like.
var relayPath = regexp.MustCompile(`^relays/([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)(?:/(trace|why))?$`)

// page is what all pages have.
type page struct {
	Root, Title string
	// Relay is the relay that the page is about; empty for all.
	Relay string
	Now   time.Time
	// Again leads to the page as it is now, Repeat to one that keeps itself new, or no longer does.
	Again, Repeat string
	// Every is the interval in seconds at which the page is loaded anew; 0 for never.
	Every int
	Body  any
}

// errNoPage says that a path leads nowhere.
var errNoPage = errors.New("there is no such page")

func (s *Site) page(w http.ResponseWriter, req *http.Request, path string) {
	p := page{Root: s.root(), Now: s.now().UTC()}
	p.follow(req.URL.Query())
	name, err := s.fill(&p, req, path)
	code := http.StatusOK
	if err != nil {
		if code = http.StatusBadGateway; errors.Is(err, errNoPage) {
			code = http.StatusNotFound
		}
		s.log.Warn("a page could not be made", "path", path, "error", err)
		name, p.Title, p.Body = "error.html", "Not shown", err.Error()
	}
	s.write(w, name, code, p)
}

// follow reads from the query whether the page is to be loaded anew, and leads there and back.
func (p *page) follow(query url.Values) {
	again := func(every string) string {
		if query.Del("every"); every != "" {
			query.Set("every", every)
		}
		return "?" + query.Encode()
	}
	if query.Get("every") == "10" {
		p.Every, p.Repeat, p.Again = 10, again(""), again("10")
		return
	}
	p.Repeat, p.Again = again("10"), again("")
}

// fill makes what the page at a path shows, and says which template shows it.
func (s *Site) fill(p *page, req *http.Request, path string) (template string, err error) {
	if path == "" {
		p.Title = "Relays"
		p.Body, err = s.source.Relays(req.Context())
		return "relays.html", err
	}
	found := relayPath.FindStringSubmatch(path)
	if found == nil {
		return "", errNoPage
	}
	p.Relay = found[1]
	switch found[2] {
	case "trace":
		p.Title, p.Body = p.Relay+": one message", s.trace(req, p.Relay)
		return "trace.html", nil
	case "why":
		p.Title, p.Body = p.Relay+": why mail waits", s.why(req, p.Relay)
		return "why.html", nil
	}
	p.Title = p.Relay
	p.Body, err = s.source.Relay(req.Context(), p.Relay)
	return "relay.html", err
}

// tracePage is what is known of a message.
type tracePage struct {
	ID     string
	Traces []Trace
	// Problem is what could not be asked.
	Problem error
}

func (s *Site) trace(req *http.Request, relay string) *tracePage {
	p := &tracePage{ID: strings.TrimSpace(req.URL.Query().Get("message"))}
	if p.ID != "" {
		p.Traces, p.Problem = s.source.Trace(req.Context(), relay, p.ID)
	}
	return p
}

// whyPage says why mail for a domain waits.
type whyPage struct {
	Domain  string
	Whys    []Why
	Problem error
}

func (s *Site) why(req *http.Request, relay string) *whyPage {
	p := &whyPage{Domain: strings.TrimSpace(req.URL.Query().Get("domain"))}
	if p.Domain != "" {
		p.Whys, p.Problem = s.source.Why(req.Context(), relay, p.Domain)
	}
	return p
}

// write makes the whole page before it sends any of it, so that a mistake is no half page.
func (s *Site) write(w http.ResponseWriter, name string, code int, p page) {
	var out bytes.Buffer
	if err := s.templates.ExecuteTemplate(&out, name, p); err != nil {
		s.log.Error("a page could not be made", "page", name, "error", err)
		http.Error(w, "the page could not be made; see the terminal", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = out.WriteTo(w) // the reader is gone when this fails
}
