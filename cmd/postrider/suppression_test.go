package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// suppressionAnswer is what the fake relay says about suppressions.
func suppressionAnswer(req *http.Request) string {
	switch {
	case req.URL.Query().Get("domain") == "empty.example":
		return `{"entries": []}`
	case req.Method == http.MethodGet:
		return `{"entries": [{"domain": "news.example", "address": "bob@example.com", "reason": "550 5.1.1 no\u001b[31m",
 "until": "2030-01-02T03:04:05Z"}], "next": "news.example/bob@example.com"}`
	case req.URL.Path == "/suppressions/add":
		return `{"domain": "news.example", "address": "bob@example.com", "until": "2030-01-02T03:04:05Z"}`
	}
	return `{"removed": true}`
}

func TestSuppression(t *testing.T) {
	f := newFakeRelay(t)
	for _, c := range []struct {
		name  string
		args  []string
		code  int
		asked string
		out   string
		err   string
	}{
		{"list", []string{"list"}, 0, "GET /suppressions?after=&domain=&limit=100", "2030-01-02T03:04:05Z   550 5.1.1 no?[31m", "--after news.example/bob@example.com"},
		{"list one", []string{"list", "outbound", "--domain", "news.example", "--limit", "5"}, 0, "GET /suppressions?after=&domain=news.example&limit=5", "bob@example.com", ""},
		{"list none", []string{"list", "--domain", "empty.example"}, 0, "GET /suppressions?after=&domain=empty.example&limit=100", "", "Nobody is suppressed"},
		{"list, bad limit", []string{"list", "--limit", "0"}, 2, "", "", "--limit must be from 1 to 1000"},
		{"add", []string{"add", "outbound", "Bob@Example.com", "--domain", "news.example", "--reason", "asked to", "--for", "365d"}, 0,
			`POST /suppressions/add {"domain":"news.example","address":"Bob@example.com","reason":"asked to","seconds":31536000}`,
			"outbound: mail of news.example to Bob@example.com is suppressed until 2030-01-02T03:04:05Z", ""},
		{"add, no domain", []string{"add", "bob@example.com"}, 2, "", "", "domain must be that of a SendingDomain"},
		{"add, no address", []string{"add", "bob", "--domain", "news.example"}, 2, "", "", "address: "},
		{"add two", []string{"add", "a@example.com", "b@example.com", "--domain", "news.example"}, 2, "", "", "name one recipient"},
		{"add, for ever", []string{"add", "a@example.com", "--domain", "news.example", "--for", "9999d"}, 2, "", "", "no time from 1s to 3650d"},
		{"remove", []string{"remove", "bob@example.com", "--domain", "news.example"}, 0,
			`POST /suppressions/remove {"domain":"news.example","address":"bob@example.com"}`, "outbound: mail of news.example to bob@example.com goes out again", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := c.asked
			if want == "" {
				want = f.last()
			}
			code, out, complaint := cli(t, append(append([]string{"suppression"}, c.args...), "--data", f.data)...)
			if code != c.code || !strings.Contains(complaint, c.err) || !strings.Contains(out, c.out) {
				t.Errorf("exit code %d, want %d; printed\n%s%s\nwant %q, %q", code, c.code, out, complaint, c.out, c.err)
			}
			if got := f.last(); got != want {
				t.Errorf("the relay was asked %q, want %q", got, want)
			}
		})
	}
}

func TestSuppressionAsJSON(t *testing.T) {
	f := newFakeRelay(t)
	for _, args := range [][]string{{"list"}, {"add", "a@b.test", "--domain", "news.example"}, {"remove", "a@b.test", "--domain", "news.example"}} {
		code, out, complaint := cli(t, append(append([]string{"suppression"}, args...), "--data", f.data, "-o", "json")...)
		if code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, `"relay": "outbound"`) {
			t.Errorf("%v: exit code %d, %s%s", args, code, out, complaint)
		}
	}
}
