// Package health owns which of the configured next hops are up: it counts what attempts came to, takes a host that
// fails again and again for down, and has it probed until it is up. It connects to nothing itself, and knows
// neither routes nor mail. MX hosts are not watched: there are too many, and others may take their mail.
package health

import (
	"math"
	"net"
	"strconv"
	"time"

	"github.com/postrider/postrider/relay/config"
)

// Key names a next hop as far as its health goes. One that refuses an account may well take another.
type Key struct {
	Host     string
	Port     int
	TLS      config.HopTLS
	Username string
}

// String is "smtp.example.com:587".
func (k Key) String() string { return net.JoinHostPort(k.Host, strconv.Itoa(k.Port)) }

// State is what is known of a next hop. The zero State is one that is up.
type State struct {
	Down bool
	// Since is when Down last changed; zero for never.
	Since time.Time
	// Last is the latest failure while it is down.
	Last string
	// Due is when it is to be probed, while it is down.
	Due time.Time

	failures int           // in a row, while it is up
	wait     time.Duration // before the latest Due
}

const (
	// failuresUntilDown is how many attempts in a row must fail.
	failuresUntilDown = 3
	// firstWait and lastWait bound the time between two probes where no other is configured.
	firstWait = 5 * time.Second
	lastWait  = time.Minute
)

// Attempted is the state after an attempt got to the host, or failed to, for the reason in err. Every is the time
// between two probes; 0 for one that doubles from 5 s to 60 s.
func (s State) Attempted(err error, now time.Time, every time.Duration) State {
	switch {
	case err == nil:
		return s.risen(now)
	case s.Down:
		return s // that attempt began before
	case s.failures+1 < failuresUntilDown:
		s.failures++
		return s
	}
	down := State{Down: true, Since: now, Last: err.Error()}
	return down.later(now, every)
}

// Probed is the state after a probe.
func (s State) Probed(err error, now time.Time, every time.Duration) State {
	if err == nil {
		return s.risen(now)
	}
	if !s.Down {
		return s // an attempt found it up in the meantime
	}
	s.Last = err.Error()
	return s.later(now, every)
}

// Probe is the state in which the host is to be probed at once.
func (s State) Probe(now time.Time) State {
	s.Due, s.wait = now, 0
	return s
}

func (s State) later(now time.Time, every time.Duration) State {
	switch {
	case every > 0:
		s.wait = every
	case s.wait == 0:
		s.wait = firstWait
	default:
		s.wait = min(2*s.wait, lastWait)
	}
	s.Due = now.Add(s.wait)
	return s
}

func (s State) risen(now time.Time) State {
	if s.Down {
		return State{Since: now}
	}
	return State{Since: s.Since}
}

// RampStep is how long the number of connections stays before it doubles.
const RampStep = 3 * time.Second

// Ramp is how many connections a host may have this long after it came up again: 1, then twice as many after each
// RampStep, so that it is not brought down by everything that waited for it.
func Ramp(since time.Duration) int {
	steps := since / RampStep
	if steps >= 31 {
		return math.MaxInt32
	}
	return 1 << max(steps, 0)
}
