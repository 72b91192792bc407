package operator_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/auth"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/policy"
	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/test/kubetest"
)

// submission makes a relay that takes tokens, and takes none any more when the test ends: all tests share a server.
func (f *fixture) submission() *v1alpha1.MailRelay {
	f.t.Helper()
	relay := f.relay("outbound", 1)
	plain := relay.Spec.Listeners
	relay.Spec.Listeners = f.listeners()
	f.create(relay)
	f.t.Cleanup(func() { change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Listeners = plain }) })
	return relay
}

func (f *fixture) listeners() []v1alpha1.Listener {
	f.t.Helper()
	cert, key := smtptest.NewCA().PairPEM("mx1.example.com")
	f.create(&corev1.Secret{ObjectMeta: f.meta("tls"), Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": cert, "tls.key": key}})
	return []v1alpha1.Listener{{
		Name: "submission", Port: 587, Mode: v1alpha1.ListenerSubmission,
		TLS:  &v1alpha1.ListenerTLS{Mode: v1alpha1.ListenerTLSRequired, SecretRef: &v1alpha1.SecretReference{Name: "tls"}},
		Auth: &v1alpha1.ListenerAuth{ServiceAccounts: &v1alpha1.ServiceAccountAuth{}},
	}}
}

// account makes a ServiceAccount.
func (f *fixture) account(namespace, name string) *corev1.ServiceAccount {
	f.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	f.create(account)
	return account
}

// token is a real one: what a projected volume holds.
func (f *fixture) token(account *corev1.ServiceAccount, audiences ...string) string {
	f.t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: new(int64(3600))}}
	if err := server.Client.SubResource("token").Create(context.Background(), account, request); err != nil {
		f.t.Fatal(err)
	}
	return request.Status.Token
}

// aged is a token as the API server would have made it some time ago, signed with the server's own key.
func (f *fixture) aged(token string, ago, life time.Duration) string {
	f.t.Helper()
	issued := time.Now().Add(-ago)
	made, err := kubetest.Resign(token, server.SigningKey(), map[string]any{
		"iat": issued.Unix(), "nbf": issued.Unix(), "exp": issued.Add(life).Unix(),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return made
}

// inPod is the relay's own code, on the configuration that a pod is given.
type inPod struct {
	*auth.Tokens
	*policy.Policy
	config *config.Config
}

func (f *fixture) inPod() (inPod, error) {
	dir := f.t.TempDir()
	var configMaps corev1.ConfigMapList
	material := &corev1.Secret{}
	err := errors.Join(server.Client.List(context.Background(), &configMaps, client.InNamespace(f.namespace), client.HasLabels{"postrider.dev/relay"}),
		server.Client.Get(context.Background(), client.ObjectKey{Namespace: f.namespace, Name: "outbound-material"}, material))
	if err != nil {
		return inPod{}, err
	}
	files := material.Data
	for _, c := range configMaps.Items {
		for name, data := range c.Data {
			files[name] = []byte(data)
		}
	}
	for name, data := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	if err != nil {
		return inPod{}, err
	}
	c, err := config.Load(dir)
	if err != nil {
		return inPod{}, err
	}
	in := inPod{Tokens: auth.NewTokens(), config: c}
	rules := auth.Rules{Audience: c.Relay.Listeners[0].Audience, Accounts: c.Accounts}
	if err := in.Load(rules, c.Path(c.Relay.TokenKeysFile)); err != nil {
		return inPod{}, err
	}
	in.Policy, err = policy.New(policy.Options{Relay: c.Relay, Domains: c.Domains, Accounts: c.Accounts})
	return in, err
}

// admitted waits until the configuration admits just these ServiceAccounts, and that of the relay itself.
func (f *fixture) admitted(accounts ...*corev1.ServiceAccount) inPod {
	f.t.Helper()
	want := map[string]string{}
	for _, a := range accounts {
		want["system:serviceaccount:"+a.Namespace+":"+a.Name] = string(a.UID)
	}
	var in inPod
	f.eventually("the accounts in the configuration", func() (err error) {
		if in, err = f.inPod(); err != nil {
			return err
		}
		others := maps.Clone(in.config.Accounts)
		delete(others, "system:serviceaccount:"+f.namespace+":outbound")
		if !maps.Equal(others, want) {
			return fmt.Errorf("they are %v, not %v", others, want)
		}
		return nil
	})
	return in
}

func (f *fixture) check(in inPod, what, token string, want error) {
	f.t.Helper()
	if _, err := in.Check(context.Background(), "", token); !errors.Is(err, want) || (err == nil) != (want == nil) {
		f.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// Real tokens, verified by the relay's code with what the operator has brought it.
func TestServiceAccountTokens(t *testing.T) {
	f := setUp(t)
	elsewhere := server.Namespace(t)
	checkout, stranger, other := f.account(f.namespace, "checkout"), f.account(elsewhere, "checkout"), f.account(elsewhere, "billing")
	f.submission()
	own, foreign := f.domain("own", "own.example"), f.domain("foreign", "foreign.example")
	foreign.Spec.Senders = []v1alpha1.Sender{{ServiceAccount: &v1alpha1.ServiceAccountReference{
		Namespace: v1alpha1.NamespaceName(elsewhere), Name: "billing"}}}
	nobodys := f.domain("nobodys", "nobodys.example")
	nobodys.Spec.Senders = []v1alpha1.Sender{}
	for _, d := range []*v1alpha1.SendingDomain{own, foreign, nobodys} {
		f.create(d)
	}
	in := f.admitted(checkout, other)

	audience := "postrider.dev/" + f.namespace + "/outbound"
	const old, hour = 5 * time.Minute, time.Hour
	good := f.token(checkout, audience)
	f.check(in, "the right audience", good, nil)
	f.check(in, "an account that is named", f.token(other, audience), nil)
	f.check(in, "another audience", f.token(checkout, "postrider.dev/"+f.namespace+"/other"), auth.ErrWrong)
	f.check(in, "the API server's audience", f.token(checkout), auth.ErrWrong)
	f.check(in, "made some time ago", f.aged(good, old, hour), nil)
	f.check(in, "expired", f.aged(good, 2*hour, hour), auth.ErrWrong)
	f.check(in, "good for too long", f.aged(good, old, 48*hour), auth.ErrWrong)
	f.check(in, "another namespace", f.aged(f.token(stranger, audience), old, hour), auth.ErrWrong)
	f.check(in, "another namespace, but perhaps new", f.token(stranger, audience), auth.ErrBusy)

	for _, test := range []struct {
		account *corev1.ServiceAccount
		domain  string
		may     bool
	}{
		{checkout, "own.example", true}, {checkout, "foreign.example", false}, {checkout, "nobodys.example", false},
		{other, "foreign.example", true}, {other, "own.example", false},
	} {
		subject := "system:serviceaccount:" + test.account.Namespace + ":" + test.account.Name
		client := policy.ClientOf(subject, false)
		client.UID = string(test.account.UID)
		if err := in.ReversePath(client, "a@"+test.domain); (err == nil) != test.may {
			t.Errorf("%s as %s: %v", subject, test.domain, err)
		}
	}

	f.delete(checkout)
	in = f.admitted(other)
	f.check(in, "a deleted account", f.aged(good, old, hour), auth.ErrWrong)
	again := f.account(f.namespace, "checkout")
	in = f.admitted(again, other)
	f.check(in, "the account before it was made again", f.aged(good, old, hour), auth.ErrWrong)
	f.check(in, "the account that was made again", f.token(again, audience), nil)
	change(f, other, func(a *corev1.ServiceAccount) { a.Finalizers = []string{"example.com/kept"} })
	f.delete(other) // it stays, on its way out
	f.admitted(again)
}

// A token with an unknown key makes the operator ask for the keys; the same keys are no reason to write anything.
func TestTokenKeysAreFetchedWhenWanted(t *testing.T) {
	f := setUp(t)
	relay := f.submission()
	f.expectRelay(relay, map[string]string{"Ready": "True/Serving", "ConfigCurrent": "True/InForce"})
	const path = "/openid/v1/jwks"
	f.eventually("the keys are fetched once", func() error {
		if n := f.requests.Reads(path); n != 1 {
			return fmt.Errorf("they were %d times", n)
		}
		return nil
	})
	generation := *relay.Status.Pods[0].ConfigGeneration
	f.requests.Writes()
	f.node.set(func(n *node) { n.wantKeys = true })
	f.eventually("they are fetched again", func() error {
		if n := f.requests.Reads(path); n < 2 {
			return fmt.Errorf("they were %d times", n)
		}
		return nil
	})
	for _, write := range f.requests.Writes() {
		if strings.Contains(write, "/secrets/") || strings.Contains(write, "/configmaps/") {
			t.Errorf("the keys are the same, and the operator asked for %q", write)
		}
	}
	if f.get(relay); *relay.Status.Pods[0].ConfigGeneration != generation {
		t.Error("the configuration is another")
	}
}

// Nobody watches ServiceAccounts, or asks for keys, where no relay takes tokens.
func TestNoTokensNoWatch(t *testing.T) {
	f := setUp(t)
	relay := f.serving("outbound", 1)
	domain := f.domain("example", "example.com")
	f.create(domain)
	f.expectDomain(domain, map[string]string{"Accepted": "True/Accepted"})
	if n := f.requests.Reads("/openid/v1/jwks"); n > 0 {
		t.Errorf("the keys were asked for %d times", n)
	}
	if n := f.requests.Reads("/api/v1/serviceaccounts" + kubetest.MetadataOnly); n > 0 {
		t.Errorf("ServiceAccounts were asked for %d times", n)
	}
	plain, tokens := relay.Spec.Listeners, f.listeners()
	change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Listeners = tokens })
	defer change(f, relay, func(r *v1alpha1.MailRelay) { r.Spec.Listeners = plain })
	f.eventually("they are watched once they matter", func() error {
		if n := f.requests.Reads("/api/v1/serviceaccounts" + kubetest.MetadataOnly); n == 0 {
			return errors.New("they are not")
		}
		return nil
	})
}
