package filter

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/message"
	"github.com/postrider/postrider/relay/reply"
)

func spamd(t *testing.T, h http.HandlerFunc) config.Filter {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return config.Filter{Name: "spam", Rspamd: &config.Rspamd{URL: server.URL}}
}

func says(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		_, _ = io.WriteString(w, answer)
	}
}

func TestRspamdIsTold(t *testing.T) {
	var got *http.Request
	var content []byte
	f := spamd(t, func(w http.ResponseWriter, req *http.Request) {
		got = req
		content, _ = io.ReadAll(req.Body)
		_, _ = io.WriteString(w, `{"action":"no action"}`)
	})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pw"), []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Rspamd.PasswordFile, f.TimeoutSeconds = "pw", 15
	chain, err := New(Options{Filters: []config.Filter{f}, Path: func(file string) string { return filepath.Join(dir, file) },
		Hostname: "mx1.example.net", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	m := sample()
	if _, err := chain.Message(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got.URL.Path != "/checkv2" || got.Method != http.MethodPost || string(content) != header+body || got.ContentLength != int64(len(content)) {
		t.Errorf("%s %s of %d octets: %q", got.Method, got.URL.Path, got.ContentLength, content)
	}
	for name, want := range map[string]string{
		"Ip": "192.0.2.7", "Helo": "client.example", "From": "a@example.org", "User": "ada", "Queue-Id": "01ABC",
		"Rcpt": "b@example.net c@example.net", "Deliver-To": "", "Mta-Name": "mx1.example.net", "Password": "hunter2",
	} {
		if values := strings.Join(got.Header[name], " "); values != want {
			t.Errorf("%s: %q, want %q", name, values, want)
		}
	}
	m.Recipients = m.Recipients[:1]
	if _, err := chain.Message(t.Context(), m); err != nil || got.Header.Get("Deliver-To") != "b@example.net" {
		t.Errorf("one recipient: %v, %v", got.Header, err)
	}
	for range 5000 {
		m.Recipients = append(m.Recipients, "somebody-with-a-long-name@example.net")
	}
	if _, err := chain.Message(t.Context(), m); err != nil || len(got.Header["Rcpt"]) > 1000 {
		t.Errorf("%d recipients: %v", len(got.Header["Rcpt"]), err)
	}
}

func TestRspamdActions(t *testing.T) {
	for answer, want := range map[string]struct{ refused, fields, hold string }{
		`{"action":"no action","score":1.2,"symbols":{}}`:                    {},
		`{"action":"reject"}`:                                                {refused: "550 5.7.1 Refused by filter spam"},
		`{"action":"reject","messages":{"smtp_message":"Gtube\r\n250 ok"}}`:  {refused: "550 5.7.1 Refused by filter spam: Gtube 250 ok"},
		`{"action":"discard"}`:                                               {refused: "550 5.7.1 Refused by filter spam"},
		`{"action":"soft reject","messages":{"smtp_message":"Ratelimit"}}`:   {refused: "451 4.7.1 Put off by filter spam: Ratelimit"},
		`{"action":"greylist"}`:                                              {refused: "451 4.7.1 Put off by filter spam"},
		`{"action":"add header"}`:                                            {fields: "X-Spam: Yes\r\n"},
		`{"action":"rewrite subject","subject":"***"}`:                       {fields: "X-Spam: Yes\r\n"},
		`{"action":"add header","milter":{"add_headers":{"x-spam":"very"}}}`: {fields: "x-spam: very\r\n"},
		`{"action":"quarantine"}`:                                            {hold: "filter spam: quarantine"},
		`{"action":"no action","milter":{"add_headers":{"A":{"value":"1","order":0},"B":["2",{"value":"3"}]},"remove_headers":{"X":0}}}`:    {fields: "A: 1\r\nB: 2\r\nB: 3\r\n"},
		`{"action":"no action","milter":{"add_headers":{"Subject":"x","From":"y","Content-Type":"z","Bad Name":"1","Evil":"a\r\nBcc: b"}}}`: {fields: "Evil: a Bcc: b\r\n"},
	} {
		r := newRig(t, nil, spamd(t, says(answer)))
		v, err := r.chain.Message(t.Context(), sample())
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want.refused || string(v.Fields) != want.fields || v.Hold != want.hold {
			t.Errorf("%s: %q, %+v; want %+v", answer, got, v, want)
		}
	}
}

// TestRspamdFailures has servers that give no verdict, with either choice of the admin.
func TestRspamdFailures(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"error":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/")
			w.WriteHeader(http.StatusFound)
		},
		"no JSON":   says("<html>"),
		"no action": says(`{"score":3}`),
		"unknown":   says(`{"action":"dance"}`),
		"endless":   says(`{"action":"no action","x":"` + strings.Repeat("x", maxRspamdAnswer) + `"}`),
		"hangs up":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"silent": func(_ http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			<-req.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			for onFailure, want := range map[config.OnFailure]string{
				config.FailDefer: "451 4.7.1 Filter spam gives no verdict; try again later", config.FailAccept: "",
			} {
				f := spamd(t, h)
				f.OnFailure = onFailure
				if name == "silent" {
					f.TimeoutSeconds = 1
				}
				r := newRig(t, nil, f)
				_, err := r.chain.Message(t.Context(), sample())
				got := ""
				if err != nil {
					got = err.Error()
				}
				if got != want || !r.counted(`{filter="spam",verdict="none"} 1`) {
					t.Errorf("%s: %q", onFailure, got)
				}
			}
		})
	}
}

// TestNextFilterIsAsked has one that fails open before one that refuses, and two that add fields.
func TestNextFilterIsAsked(t *testing.T) {
	open := spamd(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	open.OnFailure = config.FailAccept
	r := newRig(t, nil, open, spamd(t, says(`{"action":"reject"}`)))
	if _, err := r.chain.Message(t.Context(), sample()); err == nil || !strings.HasPrefix(err.Error(), "550") {
		t.Error(err)
	}
	one := spamd(t, says(`{"action":"no action","milter":{"add_headers":{"X-One":"1"}}}`))
	two := spamd(t, says(`{"action":"quarantine","milter":{"add_headers":{"X-Two":"2"}}}`))
	r = newRig(t, nil, one, two)
	if v, err := r.chain.Message(t.Context(), sample()); err != nil || string(v.Fields) != "X-One: 1\r\nX-Two: 2\r\n" || v.Hold == "" {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestUnreadableMessageIsOurTrouble: a body that cannot be read back is no verdict, and no failure of the filter that
// could be passed over.
func TestUnreadableMessageIsOurTrouble(t *testing.T) {
	f := spamd(t, says(`{"action":"no action"}`))
	f.OnFailure = config.FailAccept
	r := newRig(t, nil, f)
	m := sample()
	damaged := errors.New("damaged")
	m.Body = func() io.Reader { return iotest.ErrReader(damaged) }
	_, err := r.chain.Message(t.Context(), m)
	var r451 reply.Reply
	if !errors.Is(err, damaged) || errors.As(err, &r451) {
		t.Errorf("%v", err)
	}
}

func TestPasswordThatCannotBeRead(t *testing.T) {
	f := spamd(t, says(`{"action":"no action"}`))
	f.Rspamd.PasswordFile, f.TimeoutSeconds, f.OnFailure = "missing", 15, config.FailDefer
	chain, err := New(Options{Filters: []config.Filter{f}, Path: func(string) string { return "/nowhere" }, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "filter spam") {
		t.Errorf("New: %v", err)
	}
	if _, err := chain.Message(t.Context(), sample()); err == nil || !strings.HasPrefix(err.Error(), "451") {
		t.Errorf("a filter without its password: %v", err)
	}
}

func TestFieldsAreInertAndBounded(t *testing.T) {
	c := &Chain{log: slog.New(slog.DiscardHandler)}
	var fields []field
	for i := range 200 {
		fields = append(fields, field{fmt.Sprintf("X-%d", i), strings.Repeat("word ", 300)})
	}
	block := c.render(sample(), append(fields, field{"X-Long", strings.Repeat("x", 1000)}))
	if len(block) > maxFieldBytes || len(block) < maxFieldBytes/2 {
		t.Errorf("%d octets", len(block))
	}
	for line := range strings.Lines(string(block)) {
		if len(line) > foldAt+2 || !strings.HasSuffix(line, "\r\n") {
			t.Errorf("line of %d octets: %q", len(line), line)
		}
	}
	if parsed, err := message.Fields(block); err != nil || len(parsed) > maxFields {
		t.Errorf("%d fields, %v", len(parsed), err)
	}
	for value, want := range map[string]string{
		"a\r\nX: b\x00\x7f": "X-A: a X: b\r\n", "ünï": "X-A: ?n?\r\n", "": "X-A:\r\n",
	} {
		if block, ok := (field{"X-A", value}).append(nil); !ok || string(block) != want {
			t.Errorf("%q becomes %q", value, block)
		}
	}
}

func FuzzRspamdAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"action":"reject","messages":{"smtp_message":"no"}}`,
		`{"action":"add header","milter":{"add_headers":{"X":{"value":"1","order":0},"Y":["a",{"value":"b"}]}}}`,
		`{"action":"no action","milter":{"add_headers":{"From":[[["x"]]],"A\r\nB":"c"}}}`,
		`{"action":"quarantine","messages":{"smtp_message":["x"]}}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(seed))
	}
	c := &Chain{log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, data []byte) {
		began := time.Now()
		o, err := readRspamd("spam", data)
		if err != nil {
			return
		}
		if text := o.refuse.Text + o.hold; strings.ContainsAny(text, "\r\n\x00") || len(text) > 2*maxText {
			t.Errorf("text %q", text)
		}
		block := c.render(&Message{}, o.fields)
		fields, err := message.Fields(block)
		if err != nil || len(block) > maxFieldBytes {
			t.Errorf("fields %q: %v", block, err)
		}
		for _, field := range fields {
			if !mayAdd(field.Name) {
				t.Errorf("field %q", field.Raw)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v for %d octets", took, len(data))
		}
	})
}
