package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// proveEvery is how often what does not hold yet is tried again.
const proveEvery = 100 * time.Millisecond

// selfTest is what must have held once before a process is sent mail. What fails later does not take a pod out of service
// that has proven itself: it keeps the last good certificate, and answers 452 when its disk is full.
type selfTest struct {
	passed atomic.Bool
	why    atomic.Pointer[string]
}

// prove makes the self-test, and each part of it again until it holds or ctx is done: the spool takes a synced write, a
// configuration is in force, and every listener listens, with the certificate it needs. That no stranger may relay is
// asked of each configuration before it comes into force: see newSettings.
func (r *Relay) prove(ctx context.Context) {
	ticker := time.NewTicker(proveEvery)
	defer ticker.Stop()
	for parts := []func() error{r.spoolTakesWrites, r.configured, r.ports.complete}; len(parts) > 0; {
		err := parts[0]()
		if err == nil {
			parts = parts[1:]
			continue
		}
		r.selfTest.fails(r, err)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
	r.selfTest.passed.Store(true)
	r.log.Info("the self-test is passed: mail may be sent here")
}

// fails notes, and logs once for each reason, what does not hold.
func (s *selfTest) fails(r *Relay, err error) {
	why := err.Error()
	if before := s.why.Swap(&why); before == nil || *before != why {
		r.log.Warn("the self-test is not passed: no mail should be sent here yet", "error", why)
	}
}

// result is nil once all has held.
func (s *selfTest) result() error {
	if s.passed.Load() {
		return nil
	}
	if why := s.why.Load(); why != nil {
		return errors.New(*why)
	}
	return errors.New("the self-test has not ended")
}

// spoolTakesWrites stores a record, reads it and removes it: each write is on stable storage when it returns.
func (r *Relay) spoolTakesWrites() error {
	const table, key = "selftest", "start"
	stamp := []byte(time.Now().Format(time.RFC3339Nano))
	if err := r.spool.Put(table, key, stamp); err != nil {
		return fmt.Errorf("the spool takes no writes: %w", err)
	}
	read, err := r.spool.Lookup(table, key)
	if err != nil || !bytes.Equal(read, stamp) {
		return errors.Join(errors.New("the spool does not hold what was written"), err)
	}
	return r.spool.Drop(table, key)
}

func (r *Relay) configured() error {
	if r.settings.Load() == nil {
		return fmt.Errorf("no configuration is in force yet: %s", r.whyNoConfig())
	}
	return nil
}
