package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// parse reads a resource as a test writes it, with the defaults that its definition would fill in.
func parse[T any](t *testing.T, text string) *T {
	t.Helper()
	var object T
	if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return &object
}

const smallRelay = `
metadata: {name: outbound, namespace: mail}
spec:
  hostname: mx1.example.com
  postmaster: ops@example.com
  listeners: [{name: smtp, port: 25, mode: Relay}]
  access: {undeclaredSenders: Reject}
  queue:
    storage: {size: 1Gi}
    retry: {initialSeconds: 300, maxSeconds: 14400}
    maxMessageAgeSeconds: 432000
    delayWarningSeconds: 14400
    maxMessageBytes: 52428800
`

const fullRelay = `
metadata: {name: outbound, namespace: mail}
spec:
  hostname: mx1.example.com
  postmaster: ops@example.com
  listeners:
  - {name: smtp, port: 25, mode: Relay, tls: {mode: Opportunistic, secretRef: {name: mx1-tls}}}
  - {name: submission, port: 587, mode: Submission, tls: {mode: Required, secretRef: {name: mx1-tls}}, auth: {users: {secretRef: {name: people}}}}
  - {name: submissions, port: 465, mode: Submission, tls: {mode: Implicit, secretRef: {name: mx1-tls}}, auth: {users: {secretRef: {name: people}}, serviceAccounts: {}}}
  - {name: pods, port: 588, mode: Submission, tls: {mode: Required, secretRef: {name: mx1-tls}}, auth: {serviceAccounts: {audience: mail}}}
  - {name: other, port: 10025, mode: Relay, tls: {mode: None}, proxyProtocol: Required, proxyCIDRs: [192.0.2.0/28, "2001:db8::/64"], clientAddress: Hide}
  access: {trustedCIDRs: [10.0.0.0/8], undeclaredSenders: Accept}
  queue:
    storage: {size: 1Gi}
    retry: {initialSeconds: 1, maxSeconds: 2}
    maxMessageAgeSeconds: 432000
    delayWarningSeconds: 0
    maxMessageBytes: 1000000
    bareNewline: Normalize
  routes:
  - name: provider
    match: {senderDomains: [news.example.com], recipientDomains: [example.net]}
    smartHosts:
    - {host: smtp.example.net, port: 587, secretRef: {name: up}, caSecretRef: {name: private-ca}}
    - {host: 192.0.2.1, port: 25, tls: Opportunistic}
    - {host: smtp.mail.example, port: 587, secretRef: {name: up}, oauth2: {tokenURL: "https://login.mail.example/token", scopes: [send]}}
    - {host: smtp2.mail.example, port: 587, secretRef: {name: app}, oauth2: {tokenURL: "https://login.mail.example/token"}}
  - {name: mailboxes, match: {recipientDomains: [example.com]}, lmtp: {host: dovecot.mail.svc}}
  - {name: old-mailboxes, match: {recipientDomains: [old.example]}, lmtp: {host: "2001:db8::24", port: 2424}, verifyRecipients: None}
  - {name: customer, match: {recipientDomains: [customer.example]}, backup: {primary: {host: mx.customer.example}}}
  - {name: other-customer, match: {recipientDomains: [other.example]}, backup: {primary: {host: mx.other.example, port: 2525}, probeSeconds: 5}}
  - {name: gateway, match: {recipientDomains: [inside.example]}, smartHosts: [{host: 192.0.2.2, port: 25, tls: None}], verifyRecipients: Probe}
  - {name: lab, match: {recipientDomains: [lab.example]}, mx: {port: 2526, allowCIDRs: [127.0.0.0/8]}}
  filters:
  - {name: lists, dnsbl: {zones: [zen.example.org, bl.example.net]}}
  - {name: more-lists, dnsbl: {zones: [grey.example.org], action: Report}, timeoutSeconds: 3, onFailure: Defer}
  - {name: spam, rspamd: {url: "http://rspamd.mail.svc:11333", secretRef: {name: spam}}}
  - {name: virus, milter: {host: clamav-milter.mail.svc, port: 7357}, onFailure: Accept}
  events:
    webhooks:
    - {name: crm, url: "https://hooks.example.com/mail", secretRef: {name: hook}, types: [Delivered, Bounced]}
    - {name: all, url: "http://events.mail.svc"}
  egress: {addresses: [203.0.113.10, "2001:db8::10"]}
  dns: {resolvers: ["192.0.2.53:53"]}
`

func domainOf(t *testing.T, name, spec string, keys ...Key) Domain {
	t.Helper()
	d := parse[v1alpha1.SendingDomain](t, fmt.Sprintf("metadata: {name: %s, namespace: mail}\nspec: %s", name, spec))
	return Domain{SendingDomain: d, Keys: keys}
}

func fullInput(t *testing.T) Input {
	t.Helper()
	in := Input{
		Relay: parse[v1alpha1.MailRelay](t, fullRelay),
		Domains: []Domain{
			domainOf(t, "news", `{domain: news.example.com, dkim: {signing: Enabled}, suppression: {action: Drop, seconds: 86400}}`),
			domainOf(t, "acme", `{domain: acme.example, senders: [{user: anna}, {serviceAccount: {name: checkout}}, {user: bob}, {serviceAccount: {namespace: shop, name: billing}}], dkim: {signing: Enabled}}`,
				Key{"pr1-a", v1alpha1.RSA2048, []byte("an RSA key")}, Key{"pr1-b", v1alpha1.Ed25519, []byte("an Ed25519 key")}),
			domainOf(t, "plain", `{domain: plain.example, senders: [], dkim: {signing: Disabled}}`),
		},
		Accounts: map[string]types.UID{
			"system:serviceaccount:mail:checkout": "uid-1", "system:serviceaccount:mail:default": "uid-2", "system:serviceaccount:shop:billing": "uid-3",
		},
		TokenKeys: []byte("the keys of tokens"),
		Material:  map[string][]byte{"unasked.pem": []byte("a file that nothing asks for")},
		Admin:     &Admin{Cert: []byte("cert"), Key: []byte("key"), ClientCA: []byte("ca"), MetricsToken: []byte("token")},
	}
	for _, text := range []string{
		`{metadata: {name: cap, namespace: mail}, spec: {targetRefs: [{kind: MailRelay, name: outbound}], stage: Delivery, key: Site,
		  match: {destinationDomains: [gmail.com]}, limits: {messages: 600, perSeconds: 60, maxConnections: 20, recipientsPerMessage: 50, messagesPerConnection: 10}}}`,
		`{metadata: {name: bulk, namespace: mail}, spec: {targetRefs: [{kind: SendingDomain, name: news}, {kind: SendingDomain, name: acme}],
		  stage: Delivery, key: SenderDomain, limits: {messages: 5, perSeconds: 60}}}`,
		`{metadata: {name: people, namespace: mail}, spec: {targetRefs: [{kind: MailRelay, name: outbound}], stage: Accept, key: Sender,
		  limits: {messages: 100, perSeconds: 3600}}}`,
		`{metadata: {name: another-relay, namespace: mail}, spec: {targetRefs: [{kind: MailRelay, name: other}], stage: Delivery, key: Site,
		  limits: {maxConnections: 1}}}`,
		`{metadata: {name: cap, namespace: elsewhere}, spec: {targetRefs: [{kind: MailRelay, name: outbound}], stage: Delivery, key: Site,
		  limits: {maxConnections: 1}}}`,
	} {
		in.Policies = append(in.Policies, *parse[v1alpha1.RateLimitPolicy](t, text))
	}
	for _, n := range Needs(in.Relay) {
		for _, name := range n.FileNames() {
			in.Material[name] = []byte("contents of " + name)
		}
	}
	delete(in.Material, "oauth2-up.client-secret")
	delete(in.Material, "oauth2-app.refresh-token")
	return in
}

func TestGolden(t *testing.T) {
	for name, in := range map[string]Input{
		"small": {Relay: parse[v1alpha1.MailRelay](t, smallRelay)},
		"full":  fullInput(t),
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, filepath.Join("testdata", name+".golden"), listing(mustRender(t, in)))
		})
	}
}

// listing shows every file under the object that it belongs to.
func listing(f *Files) []byte {
	var out bytes.Buffer
	group := func(title string, files map[string][]byte) {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			fmt.Fprintf(&out, "== %s %s\n%s\n", title, name, bytes.TrimSpace(files[name]))
		}
	}
	group("relay", f.Relay)
	for i, shard := range f.Domains {
		group(fmt.Sprintf("domains %d", i), shard)
	}
	for i, shard := range f.Keys {
		group(fmt.Sprintf("keys %d", i), shard)
	}
	group("material", f.Material)
	return out.Bytes()
}

func compare(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (go test -update writes it anew): -want +got\n%s", file, diff)
	}
}

func mustRender(t *testing.T, in Input) *Files {
	t.Helper()
	f, err := Render(in)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What is rendered is what the relay reads.
func TestLoads(t *testing.T) {
	f := mustRender(t, fullInput(t))
	dir := t.TempDir()
	index, err := EncodeIndex(f.Next(config.Index{Generation: 6}))
	if err != nil {
		t.Fatal(err)
	}
	files := f.All()
	files[config.IndexFile] = index
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.Generation != 7 || c.Relay.Name != "outbound" || len(c.Domains) != 3 || len(c.Relay.Policies) != 3 {
		t.Errorf("loaded generation %d of %q with %d domains, %d policies", c.Generation, c.Relay.Name, len(c.Domains), len(c.Relay.Policies))
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	in := fullInput(t)
	first := mustRender(t, in)
	slices.Reverse(in.Domains)
	slices.Reverse(in.Policies)
	if diff := cmp.Diff(first, mustRender(t, in)); diff != "" {
		t.Error(diff)
	}
}

func TestGeneration(t *testing.T) {
	before := mustRender(t, fullInput(t)).Next(config.Index{Generation: 6})
	if before.Generation != 7 {
		t.Fatalf("the first generation after 6 is %d", before.Generation)
	}
	for name, c := range map[string]struct {
		change func(in *Input)
		want   int64
	}{
		"nothing":              {func(*Input) {}, 7},
		"a field":              {func(in *Input) { in.Relay.Spec.Hostname = "mx2.example.com" }, 8},
		"a certificate":        {func(in *Input) { in.Material["tls-mx1-tls.crt"] = []byte("renewed") }, 8},
		"a user":               {func(in *Input) { in.Material["users-people.htpasswd"] = nil }, 8},
		"a missing file":       {func(in *Input) { delete(in.Material, "upstream-up.password") }, 8},
		"a key":                {func(in *Input) { in.Domains[1].Keys[0].PEM = []byte("another") }, 8},
		"a domain":             {func(in *Input) { in.Domains = in.Domains[1:] }, 8},
		"replicas":             {func(in *Input) { in.Relay.Spec.Replicas = 9 }, 7},
		"a file nobody needs":  {func(in *Input) { in.Material["unasked.pem"] = nil }, 7},
		"another relay's rule": {func(in *Input) { in.Policies[3].Spec.Limits.MaxConnections = 9 }, 7},
	} {
		t.Run(name, func(t *testing.T) {
			in := fullInput(t)
			c.change(&in)
			f := mustRender(t, in)
			if got := f.Next(before).Generation; got != c.want {
				t.Errorf("generation %d; want %d", got, c.want)
			}
			if f.Changed(before) != (c.want == 8) {
				t.Errorf("Changed is %v", f.Changed(before))
			}
		})
	}
}

func TestIndexReadsBack(t *testing.T) {
	want := mustRender(t, fullInput(t)).Next(config.Index{})
	data, err := EncodeIndex(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeIndex(data)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
	if _, err := DecodeIndex([]byte("{")); err == nil {
		t.Error("half an index is read without an error")
	}
}

// A domain's shard depends on its name alone, and 10,000 domains fit into the objects.
func TestTenThousandDomains(t *testing.T) {
	const limit = 1 << 20 // what a ConfigMap or Secret holds
	in := Input{Relay: parse[v1alpha1.MailRelay](t, smallRelay)}
	pem := bytes.Repeat([]byte("k"), 1700)
	for i := range 10_000 {
		name := fmt.Sprintf("tenant-%d.%s.example", i, strings.Repeat("x", 40))
		in.Domains = append(in.Domains, Domain{
			SendingDomain: &v1alpha1.SendingDomain{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("d", i)},
				Spec:       v1alpha1.SendingDomainSpec{Domain: v1alpha1.DomainName(name)},
			},
			Keys: []Key{{"pr20260901-a", v1alpha1.RSA2048, pem}, {"pr20260901-b", v1alpha1.Ed25519, pem[:120]}},
		})
	}
	before := mustRender(t, in)
	in.Domains = append(in.Domains, domainOf(t, "late", "{domain: late.example}", Key{"a", v1alpha1.RSA2048, pem}))
	after := mustRender(t, in)

	index, err := json.Marshal(after.Next(config.Index{}))
	if err != nil {
		t.Fatal(err)
	}
	if size := sizeOf(after.Relay) + len(index); size > limit {
		t.Errorf("the main object has %d octets", size)
	}
	if n := changed(t, limit, before.Domains[:], after.Domains[:]); n != 1 {
		t.Errorf("one more domain changes %d shards of domains", n)
	}
	if n := changed(t, limit, before.Keys[:], after.Keys[:]); n != 1 {
		t.Errorf("one more domain changes %d shards of keys", n)
	}
}

func changed(t *testing.T, limit int, before, after []map[string][]byte) (n int) {
	t.Helper()
	for i := range after {
		if size := sizeOf(after[i]); size == 0 || size > limit {
			t.Errorf("shard %d has %d octets", i, size)
		}
		if !maps.EqualFunc(before[i], after[i], bytes.Equal) {
			n++
		}
	}
	return n
}

func sizeOf(files map[string][]byte) (n int) {
	for name, data := range files {
		n += len(name) + len(data)
	}
	return n
}

func TestContainerPort(t *testing.T) {
	seen := map[int32]int32{}
	for _, c := range []struct{ port, want int32 }{{25, 2525}, {587, 2587}, {465, 2465}, {24, 2024}, {1023, 3023}, {1024, 1024}, {10025, 10025}} {
		if got := ContainerPort(c.port); got != c.want {
			t.Errorf("port %d is %d in the container; want %d", c.port, got, c.want)
		}
	}
	for port := int32(1); port < 1024; port++ {
		if other, taken := seen[ContainerPort(port)]; taken && port != 525 {
			t.Errorf("ports %d and %d are the same in the container", other, port)
		}
		seen[ContainerPort(port)] = port
	}
}
