//go:build interop

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// tab is a page in a headless Chromium.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu sync.Mutex
	// asked are the URLs that were asked for, complaints what the browser said on its console.
	asked, complaints []string
}

// rebound is a name that an attacker's DNS has lead to this machine.
const rebound = "rebound.test"

// tab opens one. It ends with the scenario.
func (p *place) tab() *tab {
	p.t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium-headless-shell"), chromedp.UserDataDir(p.path("chromium")),
		chromedp.Flag("host-resolver-rules", "MAP "+rebound+" 127.0.0.1"))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	p.t.Cleanup(stop)
	ctx, end := chromedp.NewContext(allocator, chromedp.WithErrorf(p.t.Logf))
	p.t.Cleanup(end)
	b := &tab{t: p.t, ctx: ctx}
	p.must(chromedp.Listen(ctx, b.hear)) // network, console and runtime are told of from the start
	_, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	p.must(err)
	return b
}

// hear keeps what the browser tells.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprintf("%s: %s (%s)", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, string(e.Type))
	}
}

// heard returns what was asked for and what the browser complained of, and forgets both.
func (b *tab) heard() (asked, complaints []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	asked, complaints = b.asked, b.complaints
	b.asked, b.complaints = nil, nil
	return asked, complaints
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// eval is the value of an expression, or of the promise that it is.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// look is how a page is looked at.
type look struct {
	name          string
	width, height int64
	// scheme is light or dark.
	scheme string
}

// looks are those that every page must stand: at 320 pixels a page is shown, too, that is enlarged fourfold.
func looks() []look {
	return []look{{"light", 1280, 900, "light"}, {"dark", 1280, 900, "dark"}, {"narrow", 320, 640, "light"}}
}

// as looks at the page in a way, with as little motion as can be.
func (b *tab) as(l look) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(l.width, l.height))
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: l.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	if err != nil {
		b.t.Fatal(err)
	}
}

// keep writes a picture of the page to bin/console, for people.
func (b *tab) keep(name string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	dir := filepath.Join(root, "bin", "console")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// scripts turns JavaScript on or off.
func (b *tab) scripts(on bool) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}); err != nil {
		b.t.Fatal(err)
	}
}

// mayCopy lets the pages of an address write to the clipboard, and the test read from it.
func (b *tab) mayCopy(address string) {
	b.t.Helper()
	origin, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(b.ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted, Origin: origin.Scheme + "://" + origin.Host,
		}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// read is what a screen reader gets of the page: "role name" of each thing that has a name.
func (b *tab) read() []string {
	b.t.Helper()
	tree, err := chromedp.Call(b.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for _, n := range tree.Nodes {
		var role, name string
		if n.Ignored || n.Role == nil || n.Name == nil || json.Unmarshal(n.Role.Value, &role) != nil || json.Unmarshal(n.Name.Value, &name) != nil {
			continue
		}
		if name != "" {
			all = append(all, role+" "+name)
		}
	}
	return all
}
