package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/smtptest"
)

// world is what the server shows to others: a place where mail arrives, and a zone.
type world struct {
	mail *smtptest.Sink
	zone *smtptest.DNS
}

// serve runs until the context ends.
func serve(ctx context.Context) error {
	hostname := "mx.inbox.example"
	ca := smtptest.NewCA()
	mail, err := smtptest.NewSink(smtptest.Options{Addr: ":2525", Hostname: hostname, TLS: ca.ServerTLS(hostname)})
	if err != nil {
		return err
	}
	defer mail.Close()
	zone, err := smtptest.ListenDNS(":5353")
	if err != nil {
		return err
	}
	defer zone.Close()
	w := &world{mail: mail, zone: zone}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /records", w.publish)
	mux.HandleFunc("GET /messages", w.messages)
	server := &http.Server{Addr: control, Handler: mux, ReadHeaderTimeout: time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (w *world) publish(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(out, r.Body, 1<<20))
	if err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	count := 0
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if err := w.zone.Add(line); err != nil {
			http.Error(out, fmt.Sprintf("%s: %v", line, err), http.StatusBadRequest)
			return
		}
		count++
	}
	fmt.Fprintf(out, "%d records published\n", count)
}

// messages prints who a message came from and went to, and its header.
func (w *world) messages(out http.ResponseWriter, _ *http.Request) {
	for _, m := range w.mail.Messages() {
		header, _, _ := bytes.Cut(m.Data, []byte("\r\n\r\n"))
		fmt.Fprintf(out, "MAIL FROM:<%s>  RCPT TO:<%s>  TLS: %v  from %v\n%s\n\n", m.From, strings.Join(m.To, ">,<"), m.TLS, m.Remote,
			bytes.ReplaceAll(header, []byte("\r\n"), []byte("\n")))
	}
}
