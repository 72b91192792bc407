package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/hack/bench/traffic"
)

// small is the load of most scenarios: 20,000 messages of 4 KiB over 50 sessions.
func small() traffic.Load { return traffic.Load{Sessions: 50, Messages: 20_000, Octets: 4096} }

func throughput(ctx context.Context, b *bench) error {
	all, err := b.compare(ctx, trial{load: small()}, b.engines(nameFloor, namePostfix, nameBaseline))
	if err != nil {
		return err
	}
	const figure = "4 KiB, 50 sessions, end to end"
	b.row(row{Figure: figure, Unit: "/s", Goal: atLeast(6), Ours: all.of(nameRelay, endToEndRate), Peer: all.peer(namePostfix, endToEndRate)})
	b.row(row{Figure: figure, Unit: "/s", Goal: atLeast(0.85), Ours: all.of(nameRelay, endToEndRate), Peer: all.peer(nameFloor, endToEndRate)})
	b.row(row{Figure: "processor time of a message", Unit: "µs", Ours: all.of(nameRelay, cpuMicros), Peer: all.peer(nameFloor, cpuMicros)})
	b.row(row{Figure: "processor time of a message", Unit: "µs", Ours: all.of(nameRelay, cpuMicros), Peer: all.peer(namePostfix, cpuMicros)})
	if b.options.baseline != "" {
		b.row(row{Figure: figure, Unit: "/s", Ours: all.of(nameRelay, endToEndRate), Peer: all.peer(nameBaseline, endToEndRate)})
		b.row(row{Figure: "processor time of a message", Unit: "µs", Ours: all.of(nameRelay, cpuMicros), Peer: all.peer(nameBaseline, cpuMicros)})
	}
	return nil
}

func accepted(ctx context.Context, b *bench) error {
	load := small()
	load.Messages = 30_000
	all, err := b.compare(ctx, trial{load: load, work: work{hold: true}}, b.engines(nameFloor, namePostfix, nameBaseline))
	if err != nil {
		return err
	}
	const figure = "accepted, nothing delivered"
	b.row(row{Figure: figure, Unit: "/s", Goal: atLeast(0.85), Ours: all.of(nameRelay, acceptedRate), Peer: all.peer(nameFloor, acceptedRate)})
	b.row(row{Figure: figure, Unit: "/s", Ours: all.of(nameRelay, acceptedRate), Peer: all.peer(namePostfix, acceptedRate)})
	if b.options.baseline != "" {
		b.row(row{Figure: figure, Unit: "/s", Ours: all.of(nameRelay, acceptedRate), Peer: all.peer(nameBaseline, acceptedRate)})
	}
	return nil
}

func dkim(ctx context.Context, b *bench) error {
	k, err := newKeys()
	if err != nil {
		return err
	}
	t := trial{load: small(), work: work{keys: k}}
	t.load.Messages = 5_000
	signing := series{Name: fmt.Sprintf("RSA-2048 on %d cores", runtime.NumCPU())}
	var all compared
	for n := range b.options.rounds {
		rate, err := signingRate(ctx, k.rsa)
		if err != nil {
			return err
		}
		signing.Values = append(signing.Values, rate)
		m, err := b.round(ctx, entrant{nameRelay, b.relay(), t}, n+1)
		if err != nil {
			return err
		}
		fmt.Printf("  round %d  %s  %6.0f signatures/s\n", n+1, m, rate)
		all = append(all, *m)
	}
	b.results.Measured = append(b.results.Measured, all...)
	b.row(row{Figure: "RSA-2048 and Ed25519 signature on each, end to end", Unit: "/s", Goal: atLeast(0.7), Ours: all.of(nameRelay, endToEndRate), Peer: &signing})
	return nil
}

// signingTime is how long the machine's signing rate is measured.
const signingTime = 2 * time.Second

// signingRate is how many RSA signatures all cores make in a second.
func signingRate(ctx context.Context, key *rsa.PrivateKey) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, signingTime)
	defer cancel()
	digest := sha256.Sum256([]byte("header"))
	var made atomic.Int64
	var failed atomic.Pointer[error]
	var cores sync.WaitGroup
	started := time.Now()
	for range runtime.NumCPU() {
		cores.Go(func() {
			for ctx.Err() == nil {
				if _, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:]); err != nil {
					failed.Store(&err)
					return
				}
				made.Add(1)
			}
		})
	}
	cores.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(made.Load()) / time.Since(started).Seconds(), nil
}

func large(ctx context.Context, b *bench) error {
	t := trial{load: traffic.Load{Sessions: 20, Messages: 1_000, Octets: 1 << 20}}
	all, err := b.compare(ctx, t, b.engines(namePostfix))
	if err != nil {
		return err
	}
	b.row(row{Figure: "1 MiB, 20 sessions, end to end", Unit: "/s", Goal: atLeast(2), Ours: all.of(nameRelay, endToEndRate), Peer: all.peer(namePostfix, endToEndRate)})
	b.row(row{
		Figure: "resident memory with 20 streams of 1 MiB", Unit: "MiB", Goal: atMost(100), Ours: all.of(nameRelay, peakMemory),
		Note: "the most in the round, VmHWM",
	})
	return nil
}

func recipients(ctx context.Context, b *bench) error {
	t := trial{load: traffic.Load{Sessions: 50, Messages: 4_000, Octets: 4096, Recipients: 50}}
	all, err := b.compare(ctx, t, b.engines(namePostfix))
	if err != nil {
		return err
	}
	b.row(row{Figure: "50 recipients at one domain, messages end to end", Unit: "/s", Goal: atLeast(4), Ours: all.of(nameRelay, endToEndRate), Peer: all.peer(namePostfix, endToEndRate)})
	return nil
}

func latency(ctx context.Context, b *bench) error {
	for _, peer := range []struct {
		offers     string
		noChunking bool
		goal       float64
	}{{"PIPELINING", true, 1.7}, {"PIPELINING and CHUNKING", false, 3}} {
		t := trial{
			load:   traffic.Load{Sessions: 50, Messages: 4_000, Octets: 4096},
			share:  0.5,
			work:   work{connections: 50},
			sink:   traffic.SinkOptions{NoChunking: peer.noChunking},
			oneWay: 25 * time.Millisecond,
		}
		all, err := b.compare(ctx, t, b.engines(namePostfix))
		if err != nil {
			return err
		}
		b.row(row{
			Figure: "50 ms away, 50 connections, end to end; the peer offers " + peer.offers, Unit: "/s", Goal: atLeast(peer.goal),
			Ours: all.of(nameRelay, endToEndRate), Peer: all.peer(namePostfix, endToEndRate),
		})
	}
	return nil
}

func overTLS(ctx context.Context, b *bench) error {
	const plain = "plaintext"
	c := newCertificates()
	secured := trial{load: small(), work: work{certificates: c}, sink: traffic.SinkOptions{TLS: c.sink}}
	secured.load.TLS = c.generator
	all, err := b.alternate(ctx, []entrant{{nameRelay, b.relay(), secured}, {plain, b.relay(), trial{load: small()}}})
	if err != nil {
		return err
	}
	b.row(row{Figure: "TLS on both sides, connections reused, end to end", Unit: "/s", Goal: atLeast(0.85), Ours: all.of(nameRelay, endToEndRate), Peer: all.peer(plain, endToEndRate)})
	return nil
}
