//go:build e2e

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"golang.org/x/crypto/bcrypt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/test/peers"
)

// tenant sends as a domain of its own through the relay of another namespace.
type tenant struct {
	setup
	name, namespace, domain string
}

const tenantManifest = `
apiVersion: postrider.dev/v1alpha1
kind: SendingDomain
metadata: {name: sender}
spec:
  domain: %[1]s
  relayRef: {namespace: %[2]s, name: outbound}
  senders: [{user: %[3]s}, {serviceAccount: {name: checkout}}]
`

const admitTenants = `{"spec": {"allowedDomains": {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"mail": "tenant"}}}}}}`

// Two tenants share a relay. One tries to send as the other in every way there is, and each is refused for good; the
// honest one's mail arrives, signed with its own keys. One that is not admitted any more stops within seconds, and what it
// had sent before arrives all the same.
func TestTenants(t *testing.T) {
	s := newSetup(t, "tenants", options{trusted: []string{"192.0.2.0/24"}})
	must(t)(kubectl("patch", "mailrelay", relayName, "-n", s.namespace, "--type=merge", "-p", admitTenants))
	must(t)(kubectl("patch", "mailrelay", relayName, "-n", s.namespace, "--type=json", "-p", takeTokens))
	honest, mallory := s.tenant(t, "honest"), s.tenant(t, "mallory")
	s.users(t, honest.name, mallory.name)

	eventually(t, 150*time.Second, "the honest tenant sends", func() error { return honest.sends(honest.password(), honest.domain, honest.domain) })
	bearer := honest.token(t)
	eventually(t, 20*time.Second, "and with a token", func() error { return honest.sends(bearer, honest.domain, honest.domain) })
	eventually(t, 60*time.Second, "the other one may send, too", func() error { return mallory.sends(mallory.password(), mallory.domain, mallory.domain) })
	eventually(t, 30*time.Second, "delivered", func() error { return s.delivered(3) })
	s.signedByTheirOwn(t, honest, mallory)

	for credentials, client := range map[string]sasl.Client{"a password": mallory.password(), "a token": mallory.token(t)} {
		for what, as := range map[string]struct{ envelope, header string }{
			"envelope and header":     {honest.domain, honest.domain},
			"the envelope":            {honest.domain, mallory.domain},
			"the header":              {mallory.domain, honest.domain},
			"the relay's own domain":  {s.domain, s.domain},
			"one of two in From":      {mallory.domain, mallory.domain + ">, <sender@" + honest.domain},
			"a name below its domain": {"news." + honest.domain, "news." + honest.domain},
		} {
			if err := forGood(mallory.sends(client, as.envelope, as.header)); err != nil {
				t.Errorf("with %s as the other in %s: %v", credentials, what, err)
			}
		}
	}
	mallory.claims(t, honest)
	s.strangerToTrustedClients(t, honest)
	s.revoked(t, honest)
}

// tenant makes a namespace that the relay admits, with a SendingDomain, whose records are published, and a ServiceAccount.
func (s setup) tenant(t *testing.T, name string) tenant {
	t.Helper()
	n := tenant{setup: s, name: name, namespace: namespace(t, "tenants-"+name), domain: name + "." + s.domain}
	must(t)(kubectl("label", "namespace", n.namespace, "mail=tenant"))
	must(t)(kubectl("create", "serviceaccount", account, "-n", n.namespace))
	apply(t, n.namespace, fmt.Sprintf(tenantManifest, n.domain, s.namespace, name))
	for name, records := range map[string][]string{
		n.domain:             {"MX 10 " + s.hostname + ".", "TXT " + peers.TXT("v=spf1 ip4:"+egress+" -all")},
		"_dmarc." + n.domain: {"TXT " + peers.TXT("v=DMARC1; p=reject")},
	} {
		if err := world.dns.Set(name, records...); err != nil {
			t.Fatal(err)
		}
	}
	own := setup{namespace: n.namespace, domain: n.domain}
	eventually(t, 60*time.Second, "DKIM records wanted by "+name, own.publish)
	must(t)(kubectl("patch", "sendingdomain", "sender", "-n", n.namespace, "--type=merge", "-p", lookAgain))
	eventually(t, 120*time.Second, name+" ready", own.domainReady)
	return n
}

// users gives the relay a user for each name, all with one password.
func (s setup) users(t *testing.T, names ...string) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	lines := user + ":" + string(hash)
	for _, name := range names {
		lines += `\n` + name + ":" + string(hash)
	}
	must(t)(kubectl("patch", "secret", "smtp-users", "-n", s.namespace, "--type=merge", "-p", `{"stringData": {"users": "`+lines+`"}}`))
}

func (n tenant) password() sasl.Client { return sasl.NewPlainClient("", n.name, password) }

func (n tenant) token(t *testing.T) sasl.Client {
	t.Helper()
	return sasl.NewPlainClient("", account, token(t, n.namespace, "--audience=postrider.dev/"+n.setup.namespace+"/"+relayName))
}

// sends submits a message with one domain in its envelope and another in its header.
func (n tenant) sends(credentials sasl.Client, envelope, header string) error {
	c, err := n.authenticated(credentials)
	if err != nil {
		return err
	}
	defer c.Close()
	text := fmt.Sprintf("From: <sender@%s>\r\nTo: recipient@%s\r\nSubject: from %s\r\n\r\nOne of many.\r\n", header, n.to, n.name)
	return c.SendMail("sender@"+envelope, []string{"recipient@" + n.to}, strings.NewReader(text))
}

// forGood wants a refusal that no client tries again, and that says that it is a matter of policy.
func forGood(err error) error {
	var refused *smtp.SMTPError
	switch {
	case err == nil:
		return errors.New("it is taken")
	case !errors.As(err, &refused):
		return err
	case refused.Code != 550 || refused.EnhancedCode != smtp.EnhancedCode{5, 7, 1}:
		return fmt.Errorf("it is refused with %d %v: %w", refused.Code, refused.EnhancedCode, err)
	}
	return nil
}

// signedByTheirOwn checks that each message that arrived is signed with the keys of the domain in its From, and no other.
func (s setup) signedByTheirOwn(t *testing.T, tenants ...tenant) {
	t.Helper()
	messages, err := world.postfix.Messages(s.to)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		i := slices.IndexFunc(tenants, func(n tenant) bool { return strings.Contains(m.Header.Get("From"), "@"+n.domain) })
		if i < 0 {
			t.Errorf("a message is from %s", m.Header.Get("From"))
			continue
		}
		if got, want := signatures(t, m), []string{"ed25519-sha256 " + tenants[i].domain, "rsa-sha256 " + tenants[i].domain}; !slices.Equal(got, want) {
			t.Errorf("valid signatures: %q, want %q", got, want)
		}
	}
}

// claims declares the other one's domain, to be used at once: it is taken already.
func (n tenant) claims(t *testing.T, other tenant) {
	t.Helper()
	claim := strings.Replace(fmt.Sprintf(tenantManifest, other.domain, n.setup.namespace, n.name), "name: sender", "name: claim", 1)
	apply(t, n.namespace, claim+"  dns: {gates: []}\n")
	eventually(t, 30*time.Second, "the claim is refused", func() error {
		sd, err := get[v1alpha1.SendingDomain](n.namespace, "sendingdomain", "claim")
		if err != nil {
			return err
		}
		for _, c := range sd.Status.Conditions {
			if c.Type == v1alpha1.ConditionAccepted && c.Reason == v1alpha1.ReasonDomainClaimed && !strings.Contains(c.Message, other.namespace) {
				return nil
			}
		}
		return fmt.Errorf("its conditions are %+v", sd.Status.Conditions)
	})
	if err := forGood(n.sends(n.password(), other.domain, other.domain)); err != nil {
		t.Errorf("with a claim: %v", err)
	}
	if err := other.sends(other.password(), other.domain, other.domain); err != nil {
		t.Errorf("the one who has the domain, after the claim: %v", err)
	}
}

// strangerToTrustedClients asks without a password, from an address that is not among the trusted ones.
func (s setup) strangerToTrustedClients(t *testing.T, victim tenant) {
	t.Helper()
	connection, err := s.dial("25")
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	session := &session{Conn: connection, in: textproto.NewReader(bufio.NewReader(connection))}
	session.expect(t, "", 2)
	session.expect(t, "EHLO mallory.test", 2)
	if session.say(t, "MAIL FROM:<sender@"+victim.domain+">") == 250 {
		if code := session.say(t, "RCPT TO:<recipient@"+s.to+">"); code != 550 {
			t.Errorf("an address that is not trusted: %d", code)
		}
	}
}

// revoked queues a message of a tenant, admits it no more, and sees it refused within seconds and its message delivered.
func (s setup) revoked(t *testing.T, n tenant) {
	t.Helper()
	if err := world.postfix.Stop(); err != nil {
		t.Fatal(err)
	}
	stopped := true
	defer func() {
		if stopped {
			_ = world.postfix.Start()
		}
	}()
	if err := n.sends(n.password(), n.domain, n.domain); err != nil {
		t.Fatal(err)
	}
	must(t)(kubectl("label", "namespace", n.namespace, "mail-"))
	eventually(t, 15*time.Second, "one who is not admitted any more is refused", func() error {
		err := forGood(n.sends(n.password(), n.domain, n.domain))
		if err != nil && err.Error() == "it is taken" {
			return err
		} else if err != nil {
			t.Fatal(err)
		}
		return nil
	})
	sd, err := get[v1alpha1.SendingDomain](n.namespace, "sendingdomain", "sender")
	if err != nil || !slices.ContainsFunc(sd.Status.Conditions, func(c metav1.Condition) bool { return c.Reason == v1alpha1.ReasonNotAllowedByRelay }) {
		t.Errorf("its conditions are %+v, %v", sd.Status.Conditions, err)
	}
	if err := world.postfix.Start(); err != nil {
		t.Fatal(err)
	}
	stopped = false
	eventually(t, 90*time.Second, "what it had sent is delivered", func() error {
		st, err := s.podStatus(0)
		if err == nil && (st.Ledger.Accepted != st.Ledger.Delivered || st.Queue.Queued != 0) {
			err = fmt.Errorf("ledger %+v", st.Ledger)
		}
		return err
	})
	st, err := s.podStatus(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.delivered(int(st.Ledger.Accepted)); err != nil || st.Ledger.Accepted < 5 {
		t.Errorf("ledger %+v: %v", st.Ledger, err)
	}
}
