package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// scenario is a group of figures that are measured together.
type scenario struct {
	name string
	// about says in a line what is measured.
	about string
	// postfix says that Postfix takes part.
	postfix bool
	run     func(context.Context, *bench) error
}

// scenarios are all, in the order in which they are run.
func scenarios() []scenario {
	return []scenario{
		{"throughput", "4 KiB messages end to end over 50 sessions, beside Postfix and the floor program", true, throughput},
		{"accepted", "the same, while nothing is delivered", true, accepted},
		{"dkim", "the same, with an RSA-2048 and an Ed25519 signature on each message", false, dkim},
		{"large", "1 MiB messages end to end, and the relay's memory meanwhile", true, large},
		{"recipients", "messages to 50 recipients at one domain", true, recipients},
		{"latency", "a next hop that is 50 ms away, over 50 connections", true, latency},
		{"tls", "TLS on both sides against plaintext", false, overTLS},
		{"fairness", "probes to a healthy destination while others refuse or stall", true, fairness},
		{"backlog", "a long queue of deferred mail: memory, disk, restart, accept rate, acts ($MESSAGES)", false, backlog},
	}
}

// choose picks scenarios by name, in the order in which they are run.
func choose(all []scenario, only string) ([]scenario, error) {
	if only == "" {
		return all, nil
	}
	names := strings.Split(only, ",")
	var chosen []scenario
	for _, s := range all {
		if i := slices.Index(names, s.name); i >= 0 {
			chosen = append(chosen, s)
			names = slices.Delete(names, i, i+1)
		}
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("there is no scenario %s: -list lists them", strings.Join(names, ", "))
	}
	return chosen, nil
}
