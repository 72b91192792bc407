//go:build interop

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/metrics"
	"github.com/postrider/postrider/controllers/pki"
	"github.com/postrider/postrider/controllers/render"
	engine "github.com/postrider/postrider/relay"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
)

// watched is a relay in this process with everything that a pod has: the doors too, which `postrider local` lacks.
type watched struct {
	*place
	bind  string
	files map[string][]byte
}

// watched starts one that delivers to now.test, is put off by later.test, and has a filter, a webhook and a smart host.
func (p *place) watched() *watched {
	p.t.Helper()
	w := &watched{place: p, bind: p.ip(relayHost)}
	p.exchanger()
	w.files = w.material()
	relay, err := json.Marshal(w.config())
	p.must(err)
	w.files[config.RelayFile] = relay
	index := config.Index{Format: config.Format, Generation: 1, Files: map[string]string{}}
	p.must(os.Mkdir(w.path("config"), 0o755))
	for name, data := range w.files {
		index.Files[name] = config.Digest(data)
		p.must(os.WriteFile(w.path("config/"+name), data, 0o600))
	}
	data, err := json.Marshal(index)
	p.must(err)
	p.must(os.WriteFile(w.path("config/"+config.IndexFile), data, 0o600))
	w.run()
	return w
}

// exchanger takes mail for now.test, and puts off all for later.test.
func (p *place) exchanger() {
	p.t.Helper()
	sink, err := smtptest.NewSink(smtptest.Options{Addr: net.JoinHostPort(p.ip(25), "25"),
		Replies: map[string]reply.Reply{"@later.test": {Code: 450, Enhanced: "4.2.1", Text: "later"}}})
	p.must(err)
	p.t.Cleanup(sink.Close)
	for _, domain := range []string{"now.test", "later.test"} {
		p.dns("mx."+domain, "A "+p.ip(25))
		p.dns(domain, "MX 10 mx."+domain+".")
	}
}

// material are the files that a pod's volume has of Secret NAME-material.
func (w *watched) material() map[string][]byte {
	w.t.Helper()
	authority, _, err := pki.Renew(nil, time.Now())
	w.must(err)
	leaf, _, err := authority.Ensure(pki.Leaf{}, pki.RelayRequest("mail", "mx1"), time.Now())
	w.must(err)
	cert, key := world.ca.PairPEM(hostname)
	return map[string][]byte{
		render.AdminCertFile: leaf.Certificate, render.AdminKeyFile: leaf.Key, render.AdminCAFile: authority.Bundle(),
		render.AdminTokenFile: []byte("open sesame"), "tls.crt": cert, "tls.key": key,
	}
}

func (w *watched) config() config.Relay {
	w.t.Helper()
	answer := func(text string) string {
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, text) }))
		w.t.Cleanup(server.Close)
		return server.URL
	}
	loopback := []string{"127.0.0.0/8"}
	return config.Relay{
		Name: "mx1", Namespace: "mail", Hostname: hostname, Postmaster: "ops@now.test",
		Listeners: []config.Listener{{Name: "smtp", Port: portSMTP, Mode: config.ModeRelay, TLS: config.TLSOpportunistic, CertFile: "tls.crt", KeyFile: "tls.key"}},
		Access:    config.Access{TrustedCIDRs: loopback, UndeclaredSenders: config.SendersAccept},
		Queue:     config.Queue{RetryInitialSeconds: 1, RetryMaxSeconds: 1, MaxMessageAgeSeconds: 3600, MaxMessageBytes: 1 << 20},
		Routes: []config.Route{
			{Name: "provider", Match: config.Match{RecipientDomains: []string{"unused.test"}},
				SmartHosts: []config.SmartHost{{Host: w.ip(25), Port: 25, TLS: config.HopOpportunistic}}},
			{Name: "internet", MX: &config.MX{AllowCIDRs: loopback}},
		},
		DNS:      config.DNS{Resolvers: []string{net.JoinHostPort(resolver, "53")}},
		Filters:  []config.Filter{{Name: "spam", TimeoutSeconds: 10, OnFailure: config.FailAccept, Rspamd: &config.Rspamd{URL: answer(`{"action":"no action"}`)}}},
		Webhooks: []config.Webhook{{Name: "crm", URL: answer("")}},
		Admin: &config.Admin{CertFile: render.AdminCertFile, KeyFile: render.AdminKeyFile, CAFile: render.AdminCAFile,
			MetricsTokenFile: render.AdminTokenFile},
	}
}

// run runs the relay until the scenario ends.
func (w *watched) run() {
	w.t.Helper()
	log, err := os.Create(w.path("relay.log"))
	w.must(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- engine.Run(ctx, engine.Options{ConfigDir: w.path("config"), DataDir: w.path("d"), Bind: w.bind, Pod: "mx1-0",
			Version: "test", Local: true, Log: slog.New(slog.NewJSONHandler(log, nil))})
	}()
	w.stopAfter(func() error { stop(); defer log.Close(); return <-ended })
	eventually(w.t, "the relay listens", func() error {
		c, err := net.Dial("tcp", net.JoinHostPort(w.bind, fmt.Sprint(portSMTP)))
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

// traffic has a message delivered, a message put off, and a command refused.
func (w *watched) traffic() error {
	c, err := textproto.Dial("tcp", net.JoinHostPort(w.bind, fmt.Sprint(portSMTP)))
	if err != nil {
		return err
	}
	defer c.Close()
	if _, _, err := c.ReadResponse(220); err != nil {
		return err
	}
	for _, step := range []struct {
		want    int
		command string
	}{
		{250, "EHLO client.test"}, {250, "MAIL FROM:<a@now.test>"}, {550, "RCPT TO:<b@[192.0.2.1]>"}, {250, "RCPT TO:<b@now.test>"},
		{250, "RCPT TO:<b@later.test>"}, {354, "DATA"}, {250, "From: a@now.test\r\n\r\nHello.\r\n."}, {221, "QUIT"},
	} {
		if err := c.PrintfLine("%s", step.command); err != nil {
			return err
		}
		if code, text, err := c.ReadResponse(step.want); err != nil {
			return fmt.Errorf("%s: %d %s: %w", step.command, code, text, err)
		}
	}
	return nil
}

// caches are those of an operator that has a relay, a domain and a policy.
type caches struct{ client.Reader }

func (caches) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	meta := metav1.ObjectMeta{Namespace: "mail", Name: "mx1"}
	conditions := []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Serving"}, {Type: "SPFVerified", Status: metav1.ConditionFalse, Reason: "Missing"}}
	switch l := list.(type) {
	case *v1alpha1.MailRelayList:
		l.Items = []v1alpha1.MailRelay{{ObjectMeta: meta, Spec: v1alpha1.MailRelaySpec{Replicas: 1},
			Status: v1alpha1.MailRelayStatus{ReadyReplicas: 1, Conditions: conditions}}}
	case *v1alpha1.SendingDomainList:
		l.Items = []v1alpha1.SendingDomain{{ObjectMeta: meta, Spec: v1alpha1.SendingDomainSpec{RelayRef: v1alpha1.RelayReference{Name: "mx1"}},
			Status: v1alpha1.SendingDomainStatus{Conditions: conditions}}}
	case *v1alpha1.RateLimitPolicyList:
		l.Items = []v1alpha1.RateLimitPolicy{{ObjectMeta: meta, Status: v1alpha1.RateLimitPolicyStatus{Conditions: conditions}}}
	}
	return nil
}

// operator serves the operator's metrics, and returns host:port.
func (p *place) operator() string {
	p.t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.New(caches{}))
	server := httptest.NewTLSServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	p.t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// secretFile is where a key of Secret mx1-material is in the pod.
func (w *watched) secretFile(key string) string {
	w.t.Helper()
	if _, ok := w.files[key]; !ok {
		w.t.Fatalf("Secret mx1-material has no key %s", key)
	}
	return filepath.Join(w.path("config"), key)
}
