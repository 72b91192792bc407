package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/manifest"
	"github.com/postrider/postrider/relay/smtptest"
)

// patience is how long anything may take that a test waits for.
const patience = 20 * time.Second

// rig is a data directory, its manifests, and the world around it.
type rig struct {
	t         *testing.T
	dns       *smtptest.DNS
	sink      *smtptest.Sink
	manifests string
	data      string
	port      int
	reload    chan os.Signal

	mu   sync.Mutex
	said bytes.Buffer

	stop context.CancelFunc
	done chan error
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "local") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{t: t, manifests: filepath.Join(dir, "manifests"), data: filepath.Join(dir, "data"), port: freePort(t), reload: make(chan os.Signal)}
	if r.dns, err = smtptest.NewDNS("customer.example. MX 10 mx.customer.example.", "mx.customer.example. A 127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.dns.Close)
	if r.sink, err = smtptest.NewSink(smtptest.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.sink.Close)
	if err := os.Mkdir(r.manifests, 0o700); err != nil {
		t.Fatal(err)
	}
	return r
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.manifests, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// relay is the manifest of a MailRelay that trusts this machine.
func (r *rig) relay(name string, port int, more string) string {
	return fmt.Sprintf(`
apiVersion: postrider.dev/v1alpha1
kind: MailRelay
metadata: {name: %s}
spec:
  hostname: mx1.shop.example
  postmaster: ops@shop.example
  listeners:
  - {name: smtp, port: %d, mode: Relay}
  access: {trustedCIDRs: [127.0.0.0/8]}
  queue: {storage: {size: 1Gi}}
  routes:
  - {name: sink, mx: {port: %d, allowCIDRs: [127.0.0.0/8]}}
%s`, name, port, r.sink.Port(), more)
}

const shop = `
apiVersion: postrider.dev/v1alpha1
kind: SendingDomain
metadata: {name: shop}
spec: {domain: shop.example, relayRef: {name: outbound}}
`

func (r *rig) options() Options {
	k, err := manifest.NewKinds()
	if err != nil {
		r.t.Fatal(err)
	}
	return Options{
		Kinds: k, Source: manifest.Source{Paths: []string{r.manifests}}, DataDir: r.data, Bind: "127.0.0.1", Resolver: r.dns.Addr(),
		Version: "test", Reload: r.reload, Log: slog.New(slog.DiscardHandler), Say: r.say,
	}
}

func (r *rig) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.said, format+"\n", args...)
}

func (r *rig) heard(what string) func() bool {
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return strings.Contains(r.said.String(), what)
	}
}

func (r *rig) start() {
	r.t.Helper()
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	r.done = make(chan error, 1)
	go func() { r.done <- Run(ctx, r.options()) }()
	r.t.Cleanup(r.halt)
	r.until("the relay to listen", r.heard("listener smtp on"))
}

func (r *rig) halt() {
	r.stop()
	select {
	case err := <-r.done:
		r.done <- nil
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		r.t.Error("Run does not end")
	}
}

func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s; it said:\n%s", what, &r.said)
		}
	}
}

func (r *rig) sighup() {
	r.t.Helper()
	select {
	case r.reload <- os.Interrupt:
	case <-time.After(patience):
		r.t.Fatal("nobody reads the signal")
	}
}

// send hands over a message and returns the relay's refusal; nil when it took it.
func (r *rig) send(port int) error {
	r.t.Helper()
	const text = "From: <orders@shop.example>\r\nTo: <ada@customer.example>\r\nSubject: x\r\n\r\nHello\r\n"
	err := smtp.SendMail(fmt.Sprintf("127.0.0.1:%d", port), nil, "orders@shop.example", []string{"ada@customer.example"}, []byte(text))
	var refusal *textproto.Error
	if err != nil && !errors.As(err, &refusal) {
		r.t.Fatalf("sending: %v", err)
	}
	return err
}

// observe returns the object of a kind and name, as status shows it.
func observe[T runtime.Object](r *rig, name string) T {
	r.t.Helper()
	objects, err := Observe(r.t.Context(), r.data, "", time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	var none T
	for _, o := range objects {
		if found, ok := o.(T); ok {
			if accessor, err := meta.Accessor(o); err == nil && accessor.GetName() == name {
				return found
			}
		}
	}
	return none
}

func reason(t *testing.T, d *v1alpha1.SendingDomain, kind string) string {
	t.Helper()
	if d == nil {
		return ""
	}
	if c := meta.FindStatusCondition(d.Status.Conditions, kind); c != nil {
		return c.Reason
	}
	return ""
}

// The gate holds here as in a cluster: no mail until the keys are published, signed mail from then on, with the
// same keys after a restart.
func TestMailWaitsForPublishedKeys(t *testing.T) {
	r := newRig(t)
	r.write("relay.yaml", r.relay("outbound", r.port, ""))
	r.write("shop.yaml", shop)
	r.start()
	domain := func() *v1alpha1.SendingDomain { return observe[*v1alpha1.SendingDomain](r, "shop") }
	r.until("the first look at DNS", func() bool { return reason(t, domain(), v1alpha1.ConditionReady) == v1alpha1.ReasonDNSGateFailed })
	if err := r.send(r.port); err == nil || !strings.HasPrefix(err.Error(), "451") || !strings.Contains(err.Error(), "4.7.5") {
		t.Errorf("without published keys the relay answered %v", err)
	}
	for _, record := range domain().Status.Records {
		if record.Purpose == v1alpha1.PurposeDKIM {
			half := len(record.Expected[0]) / 2
			if err := r.dns.Add(fmt.Sprintf("%s. TXT %q %q", record.Name, record.Expected[0][:half], record.Expected[0][half:])); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.sighup()
	r.until("the keys in use", func() bool { return domain().Status.DKIM.ActiveSelector != "" })
	r.until("the relay to take mail", func() bool { return r.send(r.port) == nil })
	r.until("the message", func() bool { return r.sink.Accepted() == 1 })
	if n := strings.Count(string(r.sink.Messages()[0].Data), "DKIM-Signature:"); n != 2 {
		t.Errorf("the message has %d signatures", n)
	}
	selector := domain().Status.DKIM.ActiveSelector
	r.halt()
	r.said.Reset()
	r.start()
	if got := domain().Status.DKIM.ActiveSelector; got != selector {
		t.Errorf("after a restart %q signs, before %q", got, selector)
	}
	if err := r.send(r.port); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestChangedManifestsAreTakenUp(t *testing.T) {
	r := newRig(t)
	r.write("relay.yaml", r.relay("outbound", r.port, ""))
	r.start()
	relay := func() *v1alpha1.MailRelay { return observe[*v1alpha1.MailRelay](r, "outbound") }
	before := *relay().Status.Pods[0].ConfigGeneration

	r.write("relay.yaml", r.relay("outbound", r.port, "  surprise: 1"))
	r.until("the complaint", r.heard("spec.surprise: unknown field"))
	if now := *relay().Status.Pods[0].ConfigGeneration; now != before {
		t.Errorf("an invalid manifest made generation %d of %d", now, before)
	}

	second := freePort(t)
	r.write("relay.yaml", r.relay("outbound", r.port, "")+"---"+r.relay("second", second, ""))
	r.until("a second relay", func() bool {
		return observe[*v1alpha1.MailRelay](r, "second") != nil && r.heard("MailRelay second: listener")()
	})
	if err := r.send(second); err == nil {
		t.Error("the second relay takes mail of a domain that it does not have")
	}

	r.write("relay.yaml", r.relay("second", second, ""))
	r.until("the first relay to go", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	if _, err := os.Stat(filepath.Join(r.data, "outbound", "spool")); err != nil {
		t.Errorf("the queue of a relay that is gone: %v", err)
	}
}

// What the status says of relays, domains and policies is true while they run, and unknown when they don't.
func TestStatus(t *testing.T) {
	r := newRig(t)
	r.write("relay.yaml", r.relay("outbound", r.port, "")+"---"+shop+"---"+strings.Replace(strings.Replace(shop, "name: shop", "name: lost", 1), "outbound", "nowhere", 1)+`
---
apiVersion: postrider.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: cap}
spec:
  targetRefs: [{kind: MailRelay, name: outbound}, {kind: SendingDomain, name: none}]
  stage: Delivery
  key: Site
  limits: {maxConnections: 5}
`)
	r.start()
	relay := observe[*v1alpha1.MailRelay](r, "outbound")
	if relay.Status.ReadyReplicas != 1 || relay.Status.Queue == nil || !meta.IsStatusConditionTrue(relay.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("a relay that runs: %+v", relay.Status)
	}
	lost := observe[*v1alpha1.SendingDomain](r, "lost")
	if got := reason(t, lost, v1alpha1.ConditionAccepted); got != v1alpha1.ReasonRelayNotFound {
		t.Errorf("a domain without a relay is %q", got)
	}
	policy := observe[*v1alpha1.RateLimitPolicy](r, "cap")
	if targets := policy.Status.Targets; len(targets) != 2 || !targets[0].Accepted || targets[1].Accepted {
		t.Errorf("the policy's targets: %+v", policy.Status.Targets)
	}
	if !meta.IsStatusConditionTrue(policy.Status.Conditions, v1alpha1.ConditionProgrammed) {
		t.Errorf("the policy is in force, but: %+v", policy.Status.Conditions)
	}
	r.halt()
	relay = observe[*v1alpha1.MailRelay](r, "outbound")
	if relay.Status.Queue != nil || relay.Status.Pods[0].State != v1alpha1.PodUnreachable || meta.IsStatusConditionTrue(relay.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("a relay that has stopped: %+v", relay.Status)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, c := range []struct{ name, manifest, want string }{
		{"nothing to run", shop, "there is no MailRelay in the manifests"},
		{"what the definitions refuse", "apiVersion: postrider.dev/v1alpha1\nkind: MailRelay\nmetadata: {name: x}\nspec: {hostname: bad}\n", "spec.postmaster: Required value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.write("m.yaml", c.manifest)
			err := Run(t.Context(), r.options())
			var invalid *manifest.Invalid
			if !errors.As(err, &invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
