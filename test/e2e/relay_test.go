//go:build e2e

package e2e

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/status"
	"github.com/postrider/postrider/test/peers"
)

// Every scenario's relay has the same name and one user.
const (
	relayName = "outbound"
	user      = "app"
	password  = "correct horse battery staple"
)

// setup is a relay with a SendingDomain in a namespace of its own.
type setup struct {
	namespace string
	// domain may send; to is the domain that mail goes to.
	domain, to string
	hostname   string
	// address is the Service's.
	address string
}

// options are what scenarios vary.
type options struct {
	replicas int
	// trusted are clients that need no password.
	trusted []string
	// storage is that of the queue; 1 GiB of the default class if empty.
	storage string
}

const relayManifest = `
apiVersion: v1
kind: Secret
metadata: {name: relay-tls}
type: kubernetes.io/tls
data: {tls.crt: %[1]s, tls.key: %[2]s}
---
apiVersion: v1
kind: Secret
metadata: {name: smtp-users}
stringData: {users: "%[3]s"}
---
apiVersion: postrider.dev/v1alpha1
kind: MailRelay
metadata: {name: outbound}
spec:
  replicas: %[4]d
  hostname: %[5]s
  postmaster: ops@%[6]s
  listeners:
  - {name: smtp, port: 25, mode: Relay, tls: {mode: Opportunistic, secretRef: {name: relay-tls}}}
  - {name: submission, port: 587, mode: Submission, tls: {mode: Required, secretRef: {name: relay-tls}}, auth: {users: {secretRef: {name: smtp-users}}}}
  - {name: submissions, port: 465, mode: Submission, tls: {mode: Implicit, secretRef: {name: relay-tls}}, auth: {users: {secretRef: {name: smtp-users}}}}
  access: {trustedCIDRs: [%[7]s]}
  queue: {storage: {%[8]s}, retry: {initialSeconds: 2, maxSeconds: 10}}
  routes: [{name: internet, mx: {allowCIDRs: [10.213.0.0/24]}}]
  egress: {addresses: [203.0.113.10]}
  dns: {resolvers: ["10.213.0.1:53"]}
---
apiVersion: postrider.dev/v1alpha1
kind: SendingDomain
metadata: {name: sender}
spec:
  domain: %[6]s
  relayRef: {name: outbound}
  senders: [{user: app}]
`

// newSetup applies a relay and a SendingDomain, publishes the DNS records that its status asks for, and waits until
// both are ready.
func newSetup(t *testing.T, name string, o options) setup {
	t.Helper()
	s := setup{namespace: namespace(t, name), domain: name + ".send.test", to: name + "." + destination}
	s.hostname = "mx1." + s.domain
	s.apply(t, o)
	for name, records := range map[string][]string{
		s.to:                 {"MX 10 mx." + destination + "."},
		s.domain:             {"MX 10 " + s.hostname + ".", "TXT " + peers.TXT("v=spf1 ip4:"+egress+" -all")},
		"_dmarc." + s.domain: {"TXT " + peers.TXT("v=DMARC1; p=reject")},
		s.hostname:           {"A " + egress},
	} {
		if err := world.dns.Set(name, records...); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 60*time.Second, "DKIM records wanted", s.publish)
	must(t)(kubectl("patch", "sendingdomain", "sender", "-n", s.namespace, "--type=merge", "-p", lookAgain))
	eventually(t, 120*time.Second, "MailRelay ready", s.relayReady)
	eventually(t, 120*time.Second, "SendingDomain ready", s.domainReady)
	s.address = must(t)(kubectl("get", "service", relayName, "-n", s.namespace, "-o", "jsonpath={.spec.clusterIP}"))
	return s
}

func (s setup) apply(t *testing.T, o options) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := world.ca.PairPEM(s.hostname)
	encode := base64.StdEncoding.EncodeToString
	apply(t, s.namespace, fmt.Sprintf(relayManifest, encode(cert), encode(key), user+":"+string(hash), cmp.Or(o.replicas, 1),
		s.hostname, s.domain, strings.Join(o.trusted, ","), cmp.Or(o.storage, "size: 1Gi")))
}

// lookAgain has DNS looked at now, as each change of the spec has, and not half a minute later.
const lookAgain = `{"spec": {"dns": {"recheckSeconds": 3601}}}`

// publish puts the DKIM records that status asks for into DNS.
func (s setup) publish() error {
	sd, err := get[v1alpha1.SendingDomain](s.namespace, "sendingdomain", "sender")
	if err != nil {
		return err
	}
	published := 0
	for _, record := range sd.Status.Records {
		if record.Purpose != v1alpha1.PurposeDKIM || len(record.Expected) == 0 {
			continue
		}
		if err := world.dns.Set(record.Name, "TXT "+peers.TXT(record.Expected[0])); err != nil {
			return err
		}
		published++
	}
	if want := len(sd.Spec.DKIM.Algorithms); published != want {
		return fmt.Errorf("%d DKIM records in status, not %d", published, want)
	}
	return nil
}

func (s setup) relay() (v1alpha1.MailRelay, error) {
	return get[v1alpha1.MailRelay](s.namespace, "mailrelay", relayName)
}

func (s setup) relayReady() error {
	mr, err := s.relay()
	if err != nil {
		return err
	}
	if mr.Status.ReadyReplicas != mr.Spec.Replicas {
		return fmt.Errorf("%d of %d replicas ready", mr.Status.ReadyReplicas, mr.Spec.Replicas)
	}
	return errors.Join(isTrue(mr.Status.Conditions, v1alpha1.ConditionReady), isTrue(mr.Status.Conditions, v1alpha1.ConditionConfigCurrent))
}

func (s setup) domainReady() error {
	sd, err := get[v1alpha1.SendingDomain](s.namespace, "sendingdomain", "sender")
	if err != nil {
		return err
	}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionSPFVerified, v1alpha1.ConditionDKIMVerified,
		v1alpha1.ConditionDMARCVerified, v1alpha1.ConditionMXVerified} {
		if err := isTrue(sd.Status.Conditions, kind); err != nil {
			return err
		}
	}
	return nil
}

func isTrue(conditions []metav1.Condition, kind string) error {
	condition := meta.FindStatusCondition(conditions, kind)
	if condition == nil {
		return fmt.Errorf("there is no condition %s", kind)
	}
	if condition.Status != metav1.ConditionTrue {
		return fmt.Errorf("%s is %s (%s): %s", kind, condition.Status, condition.Reason, condition.Message)
	}
	return nil
}

// queued checks that status says so many recipients are in the queue.
func (s setup) queued(want int64) error {
	mr, err := s.relay()
	if err != nil {
		return err
	}
	if mr.Status.Queue == nil {
		return errors.New("status has no queue")
	}
	if mr.Status.Queue.Queued != want {
		return fmt.Errorf("status says %d queued, not %d", mr.Status.Queue.Queued, want)
	}
	return nil
}

// podStatus asks the relay in a pod itself, through its admin socket.
func (s setup) podStatus(ordinal int) (status.Status, error) { return s.statusOf(s.pod(ordinal)) }

func (s setup) statusOf(pod string) (status.Status, error) {
	var st status.Status
	out, err := kubectl("exec", "-n", s.namespace, pod, "--", "/relay", "ctl", "GET", "/status")
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal([]byte(out), &st)
}

func (s setup) pod(ordinal int) string { return fmt.Sprintf("%s-%d", relayName, ordinal) }

// delivered checks that so many messages have reached the scenario's domain at Postfix.
func (s setup) delivered(want int) error {
	messages, err := world.postfix.Messages(s.to)
	if err != nil {
		return err
	}
	if len(messages) != want {
		return fmt.Errorf("%d messages delivered, not %d", len(messages), want)
	}
	return nil
}
