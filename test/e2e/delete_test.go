//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Deleting all leaves no child object behind, but for the claims that still hold mail.
func TestDelete(t *testing.T) {
	const replicas = 2
	s := newSetup(t, "delete", options{replicas: replicas})
	apply(t, s.namespace, policy(100))
	if err := world.dns.Set(s.to, "MX 10 down."+destination+"."); err != nil {
		t.Fatal(err)
	}
	if err := world.dns.Set("down."+destination, "A 10.213.0.77"); err != nil { // nobody is there
		t.Fatal(err)
	}
	s.swaks(t, "this one stays")
	eventually(t, 20*time.Second, "queued", func() error { return s.queued(1) })
	want := []string{"persistentvolumeclaim/" + s.claim(t, s.holder(t, replicas))}

	for _, kind := range []string{"ratelimitpolicy", "sendingdomain", "mailrelay"} {
		must(t)(kubectl("delete", kind, "--all", "-n", s.namespace, "--timeout=120s"))
	}
	eventually(t, 60*time.Second, "no child but the claim with mail", func() error {
		left, err := s.children()
		if err == nil && !slices.Equal(left, want) {
			err = fmt.Errorf("left: %q; only %q should be", left, want)
		}
		return err
	})

	// A relay made again under the same name takes up the claim, and the mail in it arrives.
	if err := world.dns.Set(s.to, "MX 10 mx."+destination+"."); err != nil {
		t.Fatal(err)
	}
	s.apply(t, options{replicas: replicas})
	eventually(t, 120*time.Second, "the mail that stayed is delivered", func() error {
		return errors.Join(s.publish(), s.delivered(1))
	})
}

// holder is the pod that has the message.
func (s setup) holder(t *testing.T, replicas int) int {
	t.Helper()
	for ordinal := range replicas {
		st, err := s.podStatus(ordinal)
		if err != nil {
			t.Fatal(err)
		}
		if st.Queue.Queued > 0 {
			return ordinal
		}
	}
	t.Fatal("no pod has the message")
	return 0
}

// claim is the name of a pod's volume claim.
func (s setup) claim(t *testing.T, ordinal int) string {
	t.Helper()
	return must(t)(kubectl("get", "pod", s.pod(ordinal), "-n", s.namespace, "-o",
		"jsonpath={.spec.volumes[*].persistentVolumeClaim.claimName}"))
}

// children lists all objects of the namespace as kind/name, but for events and what every namespace and every
// scenario has.
func (s setup) children() ([]string, error) {
	resources, err := kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name")
	if err != nil {
		return nil, err
	}
	kinds := slices.DeleteFunc(strings.Fields(resources), func(kind string) bool { return strings.HasPrefix(kind, "events") })
	out, err := kubectl("get", "-n", s.namespace, strings.Join(kinds, ","), "--ignore-not-found", "-o",
		`jsonpath={range .items[*]}{.kind}/{.metadata.name}{"\n"}{end}`)
	if err != nil {
		return nil, err
	}
	ours := []string{"configmap/kube-root-ca.crt", "serviceaccount/default", "secret/relay-tls", "secret/smtp-users"}
	var left []string
	for object := range strings.FieldsSeq(out) {
		kind, name, _ := strings.Cut(object, "/")
		if object = strings.ToLower(kind) + "/" + name; !slices.Contains(ours, object) {
			left = append(left, object)
		}
	}
	return left, nil
}
