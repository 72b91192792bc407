package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// linger is how long a line of the log waits for others at most. Two lines for each message, each written by itself,
	// would be a quarter of the relay's calls of the system, and wake the container's runtime as often.
	linger = 50 * time.Millisecond
	// linesSize is how much is gathered at most.
	linesSize = 64 << 10
)

// lines gathers what is written. It is safe for concurrent use.
type lines struct {
	out io.Writer

	mu     sync.Mutex
	buffer []byte
	timer  *time.Timer // nil when nothing waits
}

// Write implements io.Writer. An error of the output is nobody's to mend, and is not told.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buffer = append(l.buffer, p...)
	switch {
	case len(l.buffer) >= linesSize:
		l.write()
	case l.timer == nil:
		l.timer = time.AfterFunc(linger, l.Flush)
	}
	return len(p), nil
}

// Flush writes what waits.
func (l *lines) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write()
}

func (l *lines) write() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if len(l.buffer) > 0 {
		_, _ = l.out.Write(l.buffer)
		l.buffer = l.buffer[:0]
	}
}

// urgent is a log handler that lets a warning or an error not wait: the process may end with it.
type urgent struct {
	slog.Handler
	lines *lines
}

// newLog is a log in JSON to out, and what is to be called before the process ends.
func newLog(out io.Writer) (log *slog.Logger, flush func()) {
	l := &lines{out: out}
	return slog.New(urgent{slog.NewJSONHandler(l, nil), l}), l.Flush
}

// Handle implements slog.Handler.
func (u urgent) Handle(ctx context.Context, r slog.Record) error {
	err := u.Handler.Handle(ctx, r)
	if r.Level > slog.LevelInfo {
		u.lines.Flush()
	}
	return err
}

// WithAttrs implements slog.Handler.
func (u urgent) WithAttrs(attributes []slog.Attr) slog.Handler {
	return urgent{u.Handler.WithAttrs(attributes), u.lines}
}

// WithGroup implements slog.Handler.
func (u urgent) WithGroup(name string) slog.Handler {
	return urgent{u.Handler.WithGroup(name), u.lines}
}
