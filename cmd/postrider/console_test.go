package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// opened is a console that runs.
type opened struct {
	// address is what it printed; a string that ends in a slash.
	address string
	stop    context.CancelFunc
	code    chan int
}

func (c *inCluster) console(args ...string) *opened {
	c.t.Helper()
	ctx, stop := context.WithCancel(c.t.Context())
	in, out := io.Pipe()
	o := &opened{stop: stop, code: make(chan int, 1)}
	args = append([]string{"postrider", "console", "-n", c.namespace, "--kubeconfig", server.KubeConfig(c.t)}, args...)
	go func() { o.code <- run(ctx, args, streams{strings.NewReader(""), out, io.Discard}) }() // ends with the context
	c.t.Cleanup(stop)
	line, err := bufio.NewReader(in).ReadString('\n')
	c.must(err)
	o.address = strings.TrimSpace(line)
	return o
}

// get asks for a page, under another name if there is one.
func (o *opened) get(t *testing.T, path, host string) (code int, page string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// The console shows what the API server and the pods say, to this machine alone, and ends with its command.
func TestConsole(t *testing.T) {
	c := newInCluster(t)
	o := c.console()
	if !regexp.MustCompile(`^http://127\.0\.0\.1:\d+/[A-Z2-7]{26}/$`).MatchString(o.address) {
		t.Fatalf("it is at %s", o.address)
	}
	for _, x := range []struct {
		path, host string
		code       int
		want       []string
	}{
		{"", "", 200, []string{"outbound"}},
		{"relays/outbound", "", 200, []string{"outbound-0", "outbound-1", "gmail.com", "Deferred", "451 4.7.1 later", `class="number level5">6<`, "shop.example"}},
		{"relays/outbound/why?domain=gmail.com", "", 200, []string{"Attempt 4 was put off.", "On outbound-0", "On outbound-1"}},
		{"relays/outbound/why?domain=other.example", "", 200, []string{"No mail for other.example"}},
		{"relays/outbound/trace?message=" + spooled, "", 200, []string{"550 5.1.1 no", "failed, by DSN 01DSN", "about message " + spooled, "c@gmail.com: no longer known"}},
		{"relays/outbound/trace?message=..%2Fstatus", "", 200, []string{"No pod knows message ../status"}},
		{"relays/absent", "", 502, []string{"not found"}},
		{"relays/outbound", "evil.example", 421, nil},
	} {
		code, page := o.get(t, x.path, x.host)
		if code != x.code {
			t.Errorf("%s: %d, want %d", x.path, code, x.code)
		}
		for _, want := range x.want {
			if !strings.Contains(page, want) {
				t.Errorf("%s: %q is missing in\n%s", x.path, want, page)
			}
		}
	}
	at, err := url.Parse(o.address)
	c.must(err)
	for _, elsewhere := range []string{"127.0.0.2", "::1"} {
		if conn, err := net.DialTimeout("tcp", net.JoinHostPort(elsewhere, at.Port()), time.Second); err == nil {
			_ = conn.Close()
			t.Errorf("it answers at %s, too", elsewhere)
		}
	}
	o.stop()
	if code := <-o.code; code != 0 {
		t.Errorf("it ends with %d", code)
	}
	if _, err := net.Dial("tcp", at.Host); err == nil {
		t.Error("it is still there")
	}
}

// A console for one relay shows no other, and one for a relay that is not there does not begin.
func TestConsoleOfOneRelay(t *testing.T) {
	c := newInCluster(t)
	o := c.console("outbound")
	for _, path := range []string{"relays/other", "relays/other/trace?message=01X", "relays/other/why?domain=gmail.com"} {
		if _, page := o.get(t, path, ""); !strings.Contains(page, "this console is about outbound") {
			t.Errorf("%s shows\n%s", path, page)
		}
	}
	if code, _, complaint := c.cli(server.KubeConfig(t), "console", "absent"); code != 1 || !strings.Contains(complaint, `"absent" not found`) {
		t.Errorf("exit code %d, %s", code, complaint)
	}
}
