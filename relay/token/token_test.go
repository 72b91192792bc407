package token

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a token endpoint. Each answer is the text of reply, with the number of the question put in for %d.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	reply  string
	asked  []url.Values
	basic  []string
	// hold keeps answers back until it is closed, and held gets a question each time; nil for not.
	hold, held chan struct{}
}

func newServer(t *testing.T) *server {
	s := &server{status: http.StatusOK, reply: `{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	user, password, _ := r.BasicAuth()
	s.mu.Lock()
	s.asked = append(s.asked, r.PostForm)
	s.basic = append(s.basic, user+":"+password)
	n, status, reply, hold := len(s.asked), s.status, s.reply, s.hold
	s.mu.Unlock()
	if hold != nil {
		s.held <- struct{}{}
		<-hold
	}
	if status == http.StatusTemporaryRedirect {
		w.Header().Set("Location", "/elsewhere")
	}
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, strings.ReplaceAll(reply, "%d", fmt.Sprint(n)))
}

func (s *server) say(status int, reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.reply = status, reply
}

func newSource(t *testing.T, settings Settings) (*Source, func(time.Duration)) {
	t.Helper()
	s, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	s.now = func() time.Time { return now }
	return s, func(d time.Duration) { now = now.Add(d) }
}

func wantToken(t *testing.T, s *Source, want string) {
	t.Helper()
	if got, err := s.Token(t.Context()); got != want || err != nil {
		t.Errorf("token %q, %v; want %q", got, err, want)
	}
}

func TestATokenIsKeptUntilShortlyBeforeItsEnd(t *testing.T) {
	server := newServer(t)
	s, pass := newSource(t, Settings{URL: server.URL, ClientID: "us:1", ClientSecret: "p w", Scope: "a b"})
	wantToken(t, s, "t1")
	pass(58 * time.Minute)
	wantToken(t, s, "t1")
	pass(time.Minute)
	wantToken(t, s, "t2")
	if got := server.asked[0].Encode(); got != "grant_type=client_credentials&scope=a+b" {
		t.Errorf("asked with %s", got)
	}
	if got := server.basic[0]; got != "us%3A1:p+w" { // RFC 6749 §2.3.1
		t.Errorf("credentials %s", got)
	}
	server.say(http.StatusOK, `{"access_token":"t%d","expires_in":"100"}`)
	s.Forget("t2")
	wantToken(t, s, "t3")
	pass(51 * time.Second)
	wantToken(t, s, "t4")
	server.say(http.StatusOK, `{"access_token":"t%d"}`)
	s.Forget("t4")
	wantToken(t, s, "t5")
	pass(5 * time.Minute)
	wantToken(t, s, "t6")
	for n, life := range []string{"null", "3599.5", `"soon"`} { // no time at all
		server.say(http.StatusOK, `{"access_token":"t%d","expires_in":`+life+`}`)
		pass(5 * time.Minute)
		wantToken(t, s, fmt.Sprintf("t%d", 7+n))
	}
}

func TestARefreshTokenThatIsReplacedIsUsed(t *testing.T) {
	server := newServer(t)
	s, pass := newSource(t, Settings{URL: server.URL, ClientID: "us", RefreshToken: "r0"})
	server.say(http.StatusOK, `{"access_token":"t%d","expires_in":3600,"refresh_token":"r%d"}`)
	wantToken(t, s, "t1")
	pass(time.Hour)
	server.say(http.StatusOK, `{"access_token":"t%d","expires_in":3600}`)
	wantToken(t, s, "t2")
	pass(time.Hour)
	wantToken(t, s, "t3")
	for i, want := range []string{"r0", "r1", "r1"} {
		if got := server.asked[i]; got.Get("refresh_token") != want || got.Get("grant_type") != "refresh_token" || got.Get("client_id") != "us" {
			t.Errorf("question %d: %v, want %s", i, got, want)
		}
	}
}

func TestForgetOnlyWhatIsInUse(t *testing.T) {
	s, _ := newSource(t, Settings{URL: newServer(t).URL, ClientID: "us"})
	wantToken(t, s, "t1")
	s.Forget("t1")
	wantToken(t, s, "t2")
	s.Forget("t1") // by a slower delivery
	wantToken(t, s, "t2")
}

func TestAServerThatWantsTheSecretInTheBody(t *testing.T) {
	server := newServer(t)
	server.say(http.StatusBadRequest, `{"error":"invalid_client"}`)
	s, pass := newSource(t, Settings{URL: server.URL, ClientID: "us", ClientSecret: "pw"})
	if _, err := s.Token(t.Context()); err == nil {
		t.Fatal("a token from nowhere")
	}
	if got := server.asked[1]; got.Get("client_id") != "us" || got.Get("client_secret") != "pw" || server.basic[1] != ":" {
		t.Errorf("second question: %v, header %s", got, server.basic[1])
	}
	pass(failureLife)
	server.say(http.StatusOK, `{"access_token":"t%d"}`)
	wantToken(t, s, "t3")
}

func TestFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		status      int
		reply, want string
	}{
		"refused":         {400, `{"error":"invalid_grant","error_description":"gone\r\nX: y"}`, `"invalid_grant" "gone\r\nX: y"`},
		"server error":    {503, `<html>`, "503 Service Unavailable"},
		"redirection":     {307, ``, "307 Temporary Redirect"},
		"no JSON":         {200, `<html>`, "invalid character"},
		"no token":        {200, `{}`, "gave no token"},
		"not a bearer's":  {200, `{"access_token":"t","token_type":"mac"}`, "not a bearer's"},
		"token injects":   {200, `{"access_token":"t\u0001\u0001"}`, "gave no token"},
		"endless answer":  {200, `{"x":"` + strings.Repeat("x", 1<<20), "unexpected EOF"},
		"a strange error": {400, `{"error":"` + strings.Repeat("x", 10_000) + `"}`, "the server says"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t)
			server.say(tc.status, tc.reply)
			s, pass := newSource(t, Settings{URL: server.URL, ClientID: "us", RefreshToken: "hunter2"})
			_, err := s.Token(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) || len(err.Error()) > 500 || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if _, again := s.Token(t.Context()); again != err || len(server.asked) != 1 {
				t.Errorf("asked %d times at once: %v", len(server.asked), again)
			}
			pass(failureLife)
			server.say(http.StatusOK, `{"access_token":"t%d"}`)
			wantToken(t, s, "t2")
		})
	}
}

func TestAllWaitForOneAnswer(t *testing.T) {
	server := newServer(t)
	server.hold, server.held = make(chan struct{}), make(chan struct{}, 20)
	s, _ := newSource(t, Settings{URL: server.URL, ClientID: "us"})
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() { wantToken(t, s, "t1") })
	}
	<-server.held
	impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.Token(impatient); err == nil {
		t.Error("an answer before there was one")
	}
	close(server.hold)
	wait.Wait()
	wantToken(t, s, "t1") // who gave up did not make it a failure
}

func TestSettingsThatCannotBeUsed(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://login.example.com/token": true, "http://127.0.0.1:80/": true, "http://[::1]/": true, "http://localhost:1/": true,
		"http://login.example.com/token": false, "http://127.0.0.1.example.com/": false, "http://10.0.0.1/": false,
		"ftp://127.0.0.1/": false, "": false, "login.example.com": false, "https:///token": false, "://": false,
	} {
		if _, err := New(Settings{URL: text}); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
