package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

const (
	oneDirective = `{"id": "d1", "act": "suspend", "domain": "gmail.com", "reason": "their migration", "by": "ops",
 "since": "2020-01-01T00:00:00Z", "until": "2020-01-01T02:00:00Z"}`
	anExplanation = `{"domain": "gmail.com", "id": "01M83K1R6SB9GKN4DS06", "entries": 2, "recipients": 3, "reason": "Deferred",
 "since": "2020-01-01T00:00:00Z", "due": "2120-01-01T00:00:00Z", "attempts": 4, "nextHop": "mx.gmail.com[192.0.2.1]:25",
 "reply": "451 4.7.1 later\u001b[31m", "sentence": "Attempt 4 was put off."}`
	aTrace = `{"id": "01M83K1R6SB9GKN4DS06", "recipients": [{"recipient": "b@gmail.com", "state": "Failed"}, {"recipient": "c@gmail.com", "state": ""}],
 "events": [{"type": "Accepted", "at": "2020-01-01T00:00:00Z", "spoolID": "01M83K1R6SB9GKN4DS06", "recipient": "b@gmail.com",
   "from": "a@shop.example", "listener": "smtp", "client": "192.0.2.7:4711", "size": 1264},
  {"type": "Bounced", "at": "2020-01-01T00:00:01Z", "spoolID": "01M83K1R6SB9GKN4DS06", "recipient": "b@gmail.com", "reply": "550 5.1.1 no\u001b[31m"},
  {"type": "Reported", "at": "2020-01-01T00:00:02Z", "spoolID": "01M83K1R6SB9GKN4DS06", "recipient": "b@gmail.com", "reply": "01DSN", "reason": "failed"}],
 "reports": [{"id": "01DSN", "recipients": [{"recipient": "a@shop.example", "state": "Queued"}],
  "events": [{"type": "Reported", "at": "2020-01-01T00:00:02Z", "spoolID": "01M83K1R6SB9GKN4DS06", "recipient": "b@gmail.com", "reply": "01DSN", "reason": "failed"}],
  "waiting": [` + anExplanation + `]}]}`
)

// whereabouts answers what is asked about mail, and what is told about mail to come.
func whereabouts(w http.ResponseWriter, req *http.Request) string {
	query := req.URL.Query()
	switch {
	case req.Method == http.MethodGet && req.URL.Path == "/directives":
		return `{"directives": [` + oneDirective + `]}`
	case req.Method == http.MethodPost:
		return strings.Replace(oneDirective, "{", `{"recipients": 7, `, 1)
	case req.Method == http.MethodDelete:
		return strings.Replace(oneDirective, "{", `{"recipients": 7, "ended": "2020-01-01T01:00:00Z", `, 1)
	case query.Get("domain") == "gmail.com", query.Get("id") != "":
		return `{"explanations": [` + anExplanation + `], "partial": true}`
	case strings.HasSuffix(req.URL.Path, "/01M83K1R6SB9GKN4DS06"):
		return aTrace
	}
	w.WriteHeader(http.StatusNotFound)
	return `{"error": "no such message"}`
}

func TestWhereIsMyMail(t *testing.T) {
	f := newFakeRelay(t)
	for _, c := range []struct {
		name  string
		args  string
		code  int
		asked string
		out   []string
		err   string
	}{
		{"explain a domain", "explain gmail.com", 0, "GET /explain?domain=gmail.com",
			[]string{"outbound: 3 recipients for gmail.com in 2 messages", "Attempt 4 was put off.", "Deferred for", "next in", "4 attempts",
				"mx.gmail.com[192.0.2.1]:25: 451 4.7.1 later?[31m"}, "the counts are of the oldest"},
		{"explain a message", "explain outbound 01M83K1R6SB9GKN4DS06", 0, "GET /explain?id=01M83K1R6SB9GKN4DS06", []string{"gmail.com"}, ""},
		{"explain what is not queued", "explain x.example", 1, "GET /explain?domain=x.example", nil, "no mail for x.example is queued; postrider trace"},
		{"explain nothing", "explain outbound", 2, "", nil, "name one domain, or one message"},
		{"trace", "trace 01M83K1R6SB9GKN4DS06", 0, "GET /trace/01M83K1R6SB9GKN4DS06",
			[]string{"Message 01M83K1R6SB9GKN4DS06 on outbound", "from <a@shop.example>, listener smtp, client 192.0.2.7:4711, 1264 octets",
				"550 5.1.1 no?[31m", "failed, by DSN 01DSN", "<b@gmail.com>: Failed", "<c@gmail.com>: no longer known", "DSN 01DSN",
				"about message 01M83K1R6SB9GKN4DS06", "<a@shop.example>: Queued", "Attempt 4 was put off."}, ""},
		{"trace what nobody knows", "trace 01XYZ", 1, "GET /trace/01XYZ", nil, "no relay process knows message 01XYZ"},
		{"trace nothing", "trace outbound", 2, "", nil, "name one message by its spool id"},
		{"directives", "queue directives", 0, "GET /directives", []string{"d1", "suspend", "mail for gmail.com", "2020-01-01T02:00:00Z", "ops", "their migration"}, ""},
		{"suspend", "queue suspend outbound --domain Gmail.com --for 2d --reason why", 0, `POST /directives {"act":"suspend","domain":"gmail.com","reason":"why","seconds":172800,"by":"USER"}`,
			[]string{"outbound: directive d1, suspend mail for gmail.com, until 2020-01-01T02:00:00Z; 7 recipients"}, ""},
		{"suspend nothing", "queue suspend --for 2h --reason why", 2, "", nil, "no mail is named"},
		{"suspend for ever", "queue suspend --all --reason why", 2, "", nil, "--for is required"},
		{"suspend too long", "queue suspend --all --reason why --for 31d", 2, "", nil, "is no time from 1s to 30d"},
		{"suspend without a reason", "queue suspend --all --for 1h", 2, "", nil, "--reason is required"},
		{"resume", "queue resume --domain GMAIL.com", 0, "DELETE /directives/d1", []string{"suspend mail for gmail.com, ended; 7 recipients"}, ""},
		{"resume all", "queue resume --all", 0, "DELETE /directives/d1", nil, ""},
		{"resume another", "queue resume --domain x.example", 1, "GET /directives", nil, "no such directive is in force"},
		{"resume nothing", "queue resume", 2, "", nil, "nothing is named"},
		{"end", "queue end d1", 0, "DELETE /directives/d1", []string{"ended"}, ""},
		{"end another", "queue end d2", 1, "GET /directives", nil, "no such directive is in force"},
		{"hold for a time", "queue hold --sender shop.example --for 90m --reason why", 0,
			`POST /directives {"act":"hold","sender":"shop.example","reason":"why","seconds":5400,"by":"USER"}`, nil, ""},
		{"bounce for a time", "queue bounce --all --for 30s --reason why --yes", 0, `POST /directives {"act":"bounce","all":true,"reason":"why","seconds":30,"by":"USER"}`, nil, ""},
		{"hold one for a time", "queue hold 01ABC --for 1h --reason why", 2, "", nil, "--for is about mail to come"},
		{"flush for a time", "queue flush --all --for 1h", 2, "", nil, "unknown flag: --for"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := f.last()
			code, out, complaint := cli(t, append(strings.Fields(c.args), "--data", f.data)...)
			if code != c.code || !strings.Contains(complaint, c.err) {
				t.Errorf("exit code %d, want %d; said %q, want %q", code, c.code, complaint, c.err)
			}
			want := strings.Replace(c.asked, "USER", (&target{dataDir: f.data}).who(), 1)
			if want == "" {
				want = before
			}
			if got := f.last(); got != want {
				t.Errorf("the relay was asked %q, want %q", got, want)
			}
			for _, want := range c.out {
				if !strings.Contains(out, want) {
					t.Errorf("it printed\n%s\nwithout %q", out, want)
				}
			}
			if strings.Contains(out, "\x1b") {
				t.Error("a stranger's escape sequence reaches the terminal")
			}
		})
	}
}

func TestWhereIsMyMailAsJSON(t *testing.T) {
	f := newFakeRelay(t)
	for _, args := range []string{
		"explain gmail.com", "trace 01M83K1R6SB9GKN4DS06", "queue directives", "queue end d1", "queue suspend --all --for 1h --reason why",
	} {
		code, out, complaint := cli(t, append(strings.Fields(args), "--data", f.data, "-o", "json")...)
		if code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, `"relay": "outbound"`) {
			t.Errorf("%s: exit code %d, %s%s", args, code, out, complaint)
		}
	}
}
