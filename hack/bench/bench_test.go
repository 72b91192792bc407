package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/hack/bench/traffic"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/test/daemon"
)

// TestRounds measures the real relay with a handful of messages: over TLS, signed, and held.
func TestRounds(t *testing.T) {
	dir := t.TempDir()
	if _, err := daemon.Build(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	b := &bench{options: options{rounds: 1, scale: 1}, dir: dir, scenario: "test", results: &results{}}
	k, err := newKeys()
	if err != nil {
		t.Fatal(err)
	}
	c := newCertificates()
	load := traffic.Load{Sessions: 5, Messages: 50, Octets: 2048, Recipients: 3}
	secured := trial{load: load, work: work{keys: k, certificates: c, connections: 3}, sink: traffic.SinkOptions{TLS: c.sink}, oneWay: time.Millisecond}
	secured.load.TLS = c.generator
	all, err := b.alternate(t.Context(), []entrant{
		{nameRelay, b.relay(), secured}, {"held", b.relay(), trial{load: load, work: work{hold: true}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	through, held := all.of(nameRelay, endToEndRate), all.of("held", endToEndRate)
	if len(all) != 2 || len(b.results.Measured) != 2 || through.Values[0] <= 0 || held.Values[0] != 0 {
		t.Errorf("measured %+v", all)
	}
	if m := all[0]; m.Messages != 50 || m.Accepted < m.EndToEnd || m.Memory <= 0 || m.Peak <= 0 {
		t.Errorf("measured %+v", m)
	}
}

func TestWork(t *testing.T) {
	w := work{next: "127.0.0.1:25", hops: map[string]string{"b.example": "127.0.0.1:26", "a.example": "127.0.0.1:27"}, connections: 50, hold: true}
	routes := w.routes()
	if len(routes) != 3 || routes[0].Match.RecipientDomains[0] != "a.example" || routes[0].SmartHosts[0].Port != 27 || len(routes[2].Match.RecipientDomains) != 0 {
		t.Errorf("routes %+v", routes)
	}
	for _, want := range []string{"b.example=smtp:[127.0.0.1]:26", "concurrency_limit = 50\n", "static:HOLD"} {
		if cf := w.mainCF(); !strings.Contains(cf, want) {
			t.Errorf("main.cf lacks %q:\n%s", want, cf)
		}
	}
	if plain := (work{next: "127.0.0.1:25"}).mainCF(); plain != "" {
		t.Errorf("Postfix is not as Debian ships it: %q", plain)
	}
	byMX := work{next: "127.0.0.1:2525", resolver: "127.0.0.1:53"}.relay(2525)
	if byMX.Routes[0].MX == nil || byMX.Routes[0].MX.Port != 2525 || byMX.Listeners[0].TLS != config.TLSNone {
		t.Errorf("%+v", byMX)
	}
}

func TestSigningRate(t *testing.T) {
	k, err := newKeys()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if rate, err := signingRate(ctx, k.rsa); rate <= 0 || err != nil {
		t.Errorf("%v signatures a second, %v", rate, err)
	}
}
