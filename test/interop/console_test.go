//go:build interop

package interop

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// Mail waits for these domains of console.test, so much that each shade of the map is there.
var waiting = map[string]int{"one": 1, "two": 2, "three": 4, "four": 9, "five": 31}

const (
	// hostile is what a receiver says that would like to have the console for itself, and quoted a recipient that would.
	hostile = `later <script>document.title="taken"</script><img src=x onerror="document.title='taken'">`
	quoted  = `"<img src=http://evil.test/>"@one.console.test`
)

const consoleRelay = kind + toMX + `
  listeners: [{name: smtp, port: 25, mode: Relay}]
  access: {trustedCIDRs: [127.0.0.0/8], undeclaredSenders: Accept}
---
apiVersion: postrider.dev/v1alpha1
kind: SendingDomain
metadata: {name: shop}
spec:
  domain: shop.console.test
  relayRef: {name: r}
  senders: [{user: newsletter}]
  dns: {gates: []}
`

// console is `postrider console` for a relay with mail that waits, one message that was delivered and one that bounced.
type console struct {
	*relay
	*tab
	address string
	// bounced is the message whose sender got a DSN.
	bounced string
}

func newConsole(t *testing.T) *console {
	p := newPlace(t)
	domains := []string{"now"}
	replies := map[string]reply.Reply{"gone@now.console.test": {Code: 550, Enhanced: "5.1.1", Text: hostile}}
	for domain := range waiting {
		domains = append(domains, domain)
		replies["@"+domain+".console.test"] = reply.Reply{Code: 451, Enhanced: "4.7.1", Text: hostile}
	}
	sink, err := smtptest.NewSink(smtptest.Options{Addr: net.JoinHostPort(p.ip(25), "25"), Replies: replies})
	p.must(err)
	t.Cleanup(sink.Close)
	p.dns("mx.console.test", "A "+p.ip(25))
	for _, domain := range domains {
		p.dns(domain+".console.test", "MX 10 mx.console.test.")
	}
	c := &console{relay: p.relay(consoleRelay)}
	c.fill()
	c.serve()
	c.tab = p.tab()
	return c
}

// fill hands the relay mail.
func (c *console) fill() {
	c.relay.t.Helper()
	session := c.dial(portSMTP)
	send := func(to string) (id string) {
		c.say(session, 250, "MAIL FROM:<ada@now.console.test>")
		c.say(session, 250, "RCPT TO:<"+to+">")
		c.say(session, 354, "DATA")
		answer := c.say(session, 250, "From: ada@now.console.test\r\nSubject: hello\r\n\r\nhello\r\n.")
		return answer[strings.LastIndexByte(answer, ' ')+1:]
	}
	send(quoted)
	for domain, messages := range waiting {
		for i := range messages {
			if domain != "one" || i > 0 {
				send(fmt.Sprintf("b%d@%s.console.test", i, domain))
			}
		}
	}
	send("b@now.console.test")
	c.bounced = send("gone@now.console.test")
	eventually(c.relay.t, "all has been tried", func() error {
		s, err := c.status()
		if err == nil && (s.Queue.Deferred != 47 || s.Ledger.Delivered != 2 || s.Ledger.Failed != 1) {
			err = fmt.Errorf("the queue is %+v, the books %+v", s.Queue, s.Ledger)
		}
		return err
	})
}

// serve starts the console.
func (c *console) serve() {
	t := c.relay.t
	t.Helper()
	cmd := exec.Command(postrider(), "console", "--data", c.path("d"))
	out, err := cmd.StdoutPipe()
	c.must(err)
	c.must(cmd.Start())
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
			t.Errorf("the console: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	c.must(err)
	c.address = strings.TrimSpace(line)
}

// pages are all kinds of pages, by a name for their pictures.
func (c *console) pages() map[string]string {
	return map[string]string{
		"relays": "", "relay": "relays/r", "why": "relays/r/why?domain=five.console.test", "trace": "relays/r/trace?message=" + c.bounced,
		"ask": "relays/r/trace", "unknown": "relays/r/trace?message=01X", "error": "nowhere",
	}
}

// open goes to a page.
func (c *console) open(page string) {
	c.tab.t.Helper()
	c.do(chromedp.Navigate(c.address + page))
}

// The console in a real browser, with mail whose senders and receivers mean no good.
func TestConsole(t *testing.T) {
	c := newConsole(t)
	for name, page := range c.pages() {
		c.run(t, name, func(t *testing.T) { c.stands(t, name, page) })
	}
	c.run(t, "read aloud", c.isReadAloud)
	c.run(t, "copy", c.copies)
	c.run(t, "without JavaScript", c.worksWithoutJavaScript)
	c.run(t, "kept to itself", c.keepsToItself)
}

// run runs a part of the scenario in the tab.
func (c *console) run(t *testing.T, name string, part func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		c.tab.t = t
		part(t)
	})
	c.tab.t = t
}

// stands looks at a page as people with different eyes, screens and machines do.
func (c *console) stands(t *testing.T, name, page string) {
	for _, l := range looks() {
		c.as(l)
		c.heard()
		c.open(page)
		for _, wrong := range eval[[]string](c.tab, script(t, "page.js")) {
			t.Errorf("%s: %s", l.name, wrong)
		}
		c.keep(name + "-" + l.name)
		c.alone(t, name)
	}
	c.keyboard(t)
}

// script is a file of testdata.
func script(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// alone wants the page to have asked for nothing elsewhere, no stranger's script to have run, and the browser to be content.
func (c *console) alone(t *testing.T, name string) {
	t.Helper()
	asked, complaints := c.heard()
	if len(asked) < 3 {
		t.Errorf("only %q was asked for", asked)
	}
	for _, a := range asked {
		if !strings.HasPrefix(a, c.address) && a != "data:," {
			t.Errorf("the page asks for %s", a)
		}
	}
	if name == "error" { // a page that is not there is complained of
		complaints = slices.DeleteFunc(complaints, func(s string) bool { return strings.Contains(s, "404 (Not Found)") })
	}
	if len(complaints) > 0 || eval[string](c.tab, "document.title") == "taken" {
		t.Errorf("the browser complains: %q", complaints)
	}
}

// keyboard goes through the page with the tabulator key: every control in the order of the page, each of them seen.
func (c *console) keyboard(t *testing.T) {
	t.Helper()
	type focus struct {
		Place, Of int
		What      string
		Seen      bool
	}
	for i := 0; ; i++ {
		c.do(chromedp.KeyEvent(kb.Tab))
		f := eval[focus](c.tab, script(t, "focus.js"))
		if i == f.Of {
			return
		}
		if f.Place != i || !f.Seen {
			t.Fatalf("after %d keys the focus is at %d of %d, seen: %t; %s", i+1, f.Place, f.Of, f.Seen, f.What)
		}
	}
}

// isReadAloud wants a screen reader to make sense of the map and of a record.
func (c *console) isReadAloud(t *testing.T) {
	c.open("relays/r")
	read := c.read()
	for _, want := range []string{
		"table Messages that wait, by destination and age", "columnheader Destination", "columnheader under 1 minute", "columnheader 2 days and more",
		"columnheader Waits because", "rowheader five.console.test", "link five.console.test", "cell 31", "navigation Console",
		"button Copy value of the DKIM record at ", "textbox Spool id, from the reply “queued as ID”, a Received field or the log", "table Pods of r",
	} {
		if !slices.ContainsFunc(read, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("nobody hears %q in\n%s", want, strings.Join(read, "\n"))
		}
	}
}

// copies wants a button to copy what stands beside it, and to say so.
func (c *console) copies(t *testing.T) {
	c.mayCopy(c.address)
	c.open("relays/r")
	value := eval[string](c.tab, `[...document.querySelectorAll("dd code")].map((e) => e.textContent).find((s) => s.startsWith("v=DKIM1"))`)
	eval[bool](c.tab, `(() => { const code = [...document.querySelectorAll("dd code")].find((e) => e.textContent.startsWith("v=DKIM1"));
		code.nextElementSibling.focus(); return true })()`)
	c.do(chromedp.KeyEvent(kb.Enter))
	eventually(t, "the clipboard has the value", func() error {
		if got := eval[string](c.tab, "navigator.clipboard.readText()"); got != value {
			return fmt.Errorf("it has %q", got)
		}
		return nil
	})
	if got := eval[string](c.tab, `document.activeElement.textContent + document.querySelector("[role=status]").textContent`); !strings.HasPrefix(got, "Copied value of the DKIM") || !strings.HasSuffix(got, "Copied.") {
		t.Errorf("it says %q", got)
	}
}

// worksWithoutJavaScript misses nothing but the buttons that copy: links lead on, and the form asks.
func (c *console) worksWithoutJavaScript(t *testing.T) {
	c.scripts(false)
	defer c.scripts(true)
	c.open("")
	c.do(chromedp.Click("main a"), chromedp.WaitVisible("table.heat"))
	if n := eval[int](c.tab, `[...document.querySelectorAll("button[data-copy]")].filter((e) => e.checkVisibility()).length`); n != 0 {
		t.Errorf("%d buttons are there that cannot copy", n)
	}
	c.do(chromedp.SendKeys("#message", c.bounced+kb.Enter), chromedp.WaitVisible("h3 a"))
	text := eval[string](c.tab, "document.body.innerText")
	for _, want := range []string{"Message " + c.bounced, "Bounced", "550 5.1.1 later <script>", "DSN ", "ada@now.console.test: Delivered"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// keepsToItself has the page try what it never should do, and comes under a name that an attacker's DNS leads here.
func (c *console) keepsToItself(t *testing.T) {
	c.open("relays/r")
	for what, attempt := range map[string]string{
		"script-src-elem": `const s = document.createElement("script"); s.textContent = "document.title = 'taken'"; document.body.append(s)`,
		"script-src-attr": `document.body.setAttribute("onclick", "document.title = 'taken'"); document.body.click()`,
		"img-src":         `new Image().src = "http://evil.test/"`,
		"connect-src":     `fetch("http://evil.test/").catch(() => {})`,
		"frame-src":       `const f = document.createElement("iframe"); f.src = "http://evil.test/"; document.body.append(f)`,
		"form-action":     `const f = document.createElement("form"); f.action = "http://evil.test/"; document.body.append(f); f.submit()`,
	} {
		got := eval[string](c.tab, `new Promise((told) => {
			document.addEventListener("securitypolicyviolation", (e) => told(e.effectiveDirective), { once: true });
			setTimeout(() => told("nothing within 5 s"), 5000); `+attempt+` })`)
		if got != what || eval[string](c.tab, "document.title") == "taken" {
			t.Errorf("%s is not refused: %s", what, got)
		}
	}
	elsewhere, err := url.Parse(c.address)
	c.must(err)
	elsewhere.Host = net.JoinHostPort(rebound, elsewhere.Port())
	c.do(chromedp.Navigate(elsewhere.String() + "relays/r"))
	if text := eval[string](c.tab, "document.body.innerText"); !strings.Contains(text, "answers under 127.0.0.1") || strings.Contains(text, "console.test") {
		t.Errorf("under another name it says\n%s", text)
	}
}
