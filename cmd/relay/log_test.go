package main

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// output counts the writes.
type output struct {
	mu     sync.Mutex
	text   strings.Builder
	writes int
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes++
	return o.text.Write(p)
}

func (o *output) seen() (lines, writes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Count(o.text.String(), "\n"), o.writes
}

func TestLinesAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		log, _ := newLog(&out)
		for range 100 {
			log.Info("accepted", "spool_id", "1")
		}
		if lines, _ := out.seen(); lines != 0 {
			t.Errorf("%d lines at once", lines)
		}
		time.Sleep(linger)
		synctest.Wait()
		if lines, writes := out.seen(); lines != 100 || writes != 1 {
			t.Errorf("%d lines in %d writes, want 100 in 1", lines, writes)
		}
	})
}

func TestWarningsDoNotWait(t *testing.T) {
	var out output
	log, _ := newLog(&out)
	log = log.With("a", 1).WithGroup("g")
	log.Info("first")
	log.Warn("second")
	if lines, _ := out.seen(); lines != 2 {
		t.Errorf("%d lines after a warning, want 2", lines)
	}
}

func TestMuchDoesNotWait(t *testing.T) {
	var out output
	log, _ := newLog(&out)
	log.Info(strings.Repeat("x", linesSize))
	if lines, _ := out.seen(); lines != 1 {
		t.Error("a full buffer waits")
	}
}

func TestNothingIsLeft(t *testing.T) {
	var out output
	log, flush := newLog(&out)
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range 500 {
				log.Info("line", slog.Int("n", 1))
			}
		})
	}
	writers.Wait()
	flush()
	if lines, _ := out.seen(); lines != 4000 {
		t.Errorf("%d lines of 4000", lines)
	}
}
