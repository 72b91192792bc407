package pki

import (
	"bytes"
	"crypto/x509"
	"slices"
	"testing"
	"time"
)

var start = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)

func authority(t *testing.T, a *Authority, now time.Time) (*Authority, bool) {
	t.Helper()
	next, changed, err := Renew(a, now)
	if err != nil {
		t.Fatal(err)
	}
	return next, changed
}

func ensure(t *testing.T, a *Authority, l Leaf, r Request, now time.Time) (Leaf, bool) {
	t.Helper()
	leaf, changed, err := a.Ensure(l, r, now)
	if err != nil {
		t.Fatal(err)
	}
	return leaf, changed
}

func TestAuthorityRollsWithOverlap(t *testing.T) {
	a, made := authority(t, nil, start)
	if !made || len(a.pairs) != 1 {
		t.Fatalf("made %v with %d pairs", made, len(a.pairs))
	}
	if _, changed := authority(t, a, start.Add(AuthorityLife/2)); changed {
		t.Error("renewed at half of its life")
	}

	due := start.Add(AuthorityLife/3*2 + time.Hour)
	rolling, changed := authority(t, a, due)
	if !changed || len(rolling.pairs) != 2 {
		t.Fatalf("at two thirds: changed %v, %d pairs", changed, len(rolling.pairs))
	}
	if _, changed := authority(t, rolling, due.Add(time.Hour)); changed {
		t.Error("an authority that is rolling was renewed again")
	}
	if got := rolling.signer(due).cert; !got.Equal(a.pairs[0].cert) {
		t.Error("the new authority signs before it is trusted everywhere")
	}
	if got := rolling.signer(due.Add(Overlap)).cert; !got.Equal(rolling.pairs[1].cert) {
		t.Error("the new authority does not sign after the overlap")
	}

	after, changed := authority(t, rolling, start.Add(AuthorityLife))
	if !changed || len(after.pairs) != 1 || !after.pairs[0].cert.Equal(rolling.pairs[1].cert) {
		t.Errorf("the old authority is still there after its end: %d pairs", len(after.pairs))
	}
}

// A peer that has read the bundle at any moment accepts the leaves of that moment, through a whole roll.
func TestLeavesAreAlwaysTrusted(t *testing.T) {
	a, _ := authority(t, nil, start)
	request := RelayRequest("mail", "outbound")
	var leaf Leaf
	stale := a.Pool()
	for now := start; now.Before(start.Add(2 * AuthorityLife)); now = now.Add(12 * time.Hour) {
		a, _ = authority(t, a, now)
		leaf, _ = ensure(t, a, leaf, request, now)
		c, err := leaf.parse()
		if err != nil {
			t.Fatal(err)
		}
		for name, pool := range map[string]*x509.CertPool{"now": a.Pool(), "twelve hours ago": stale} {
			o := x509.VerifyOptions{Roots: pool, CurrentTime: now, DNSName: ServerName("mail", "outbound")}
			if _, err := c.Verify(o); err != nil {
				t.Fatalf("%v: the bundle of %s refuses the leaf: %v", now, name, err)
			}
		}
		stale = a.Pool()
	}
}

func TestEnsure(t *testing.T) {
	a, _ := authority(t, nil, start)
	other, _ := authority(t, nil, start)
	request := RelayRequest("mail", "outbound")
	leaf, _ := ensure(t, a, Leaf{}, request, start)

	tests := map[string]struct {
		authority *Authority
		leaf      Leaf
		request   Request
		now       time.Time
		renewed   bool
	}{
		"good":               {a, leaf, request, start, false},
		"half of its life":   {a, leaf, request, start.Add(LeafLife / 2), false},
		"two thirds":         {a, leaf, request, start.Add(LeafLife/3*2 + time.Minute), true},
		"ended":              {a, leaf, request, start.Add(LeafLife * 2), true},
		"another relay":      {a, leaf, RelayRequest("mail", "inbound"), start, true},
		"another role":       {a, leaf, Request{Role: Client, CommonName: request.CommonName, DNSNames: request.DNSNames}, start, true},
		"foreign authority":  {other, leaf, request, start, true},
		"damaged":            {a, Leaf{Certificate: []byte("x"), Key: leaf.Key}, request, start, true},
		"key of another one": {a, Leaf{Certificate: leaf.Certificate, Key: must(ensure(t, a, Leaf{}, request, start)).Key}, request, start, true},
		"nothing":            {a, Leaf{}, request, start, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, renewed := ensure(t, test.authority, test.leaf, test.request, test.now)
			if renewed != test.renewed {
				t.Errorf("renewed %v, want %v", renewed, test.renewed)
			}
			if !test.authority.good(got, test.request, test.now) {
				t.Error("what it returned is not good")
			}
		})
	}
}

func must(l Leaf, _ bool) Leaf { return l }

func TestRelayIsNoOperatorAndNoOtherRelay(t *testing.T) {
	a, _ := authority(t, nil, start)
	leaf, _ := ensure(t, a, Leaf{}, RelayRequest("mail", "outbound"), start)
	c, err := leaf.parse()
	if err != nil {
		t.Fatal(err)
	}
	operator, err := must(ensure(t, a, Leaf{}, OperatorRequest(), start)).parse()
	if err != nil {
		t.Fatal(err)
	}
	// The doors take a certificate with a relay's name for that relay's, and one without for the operator's.
	if !slices.Contains(c.DNSNames, "outbound.mail.relay.postrider.internal") || len(operator.DNSNames) > 0 {
		t.Errorf("a relay's certificate is for %q, the operator's for %q", c.DNSNames, operator.DNSNames)
	}
	asClient := x509.VerifyOptions{Roots: a.Pool(), CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := c.Verify(asClient); err != nil {
		t.Errorf("a pod cannot give its mail to another: %v", err)
	}
	if err := c.VerifyHostname(ServerName("tenant", "outbound")); err == nil {
		t.Error("a relay's certificate is accepted for a relay in another namespace")
	}
	for _, name := range []string{"outbound-0.outbound-pods.mail.svc", "outbound-0.outbound-pods.mail.svc.cluster.local"} {
		if err := c.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}

func TestAuthorityEncoding(t *testing.T) {
	a, _ := authority(t, nil, start)
	a, _ = authority(t, a, start.Add(AuthorityLife-time.Hour))
	certs, keys, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseAuthority(certs, keys)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(parsed.Bundle(), certs) || len(parsed.pairs) != 2 {
		t.Error("the authority changed on its way through PEM")
	}
	swapped, _, _ := (&Authority{pairs: []pair{a.pairs[1], a.pairs[0]}}).Encode()
	for name, damaged := range map[string][2][]byte{
		"empty":        {nil, nil},
		"no keys":      {certs, nil},
		"swapped":      {swapped, keys},
		"not PKCS #8":  {certs, bytes.ReplaceAll(keys, []byte("M"), []byte("N"))},
		"not a cert":   {keys, keys},
		"one key less": {certs, keys[:len(keys)/2]},
	} {
		if _, err := ParseAuthority(damaged[0], damaged[1]); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
