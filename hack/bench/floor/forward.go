package main

import (
	"fmt"
	"os"
	"time"

	"github.com/emersion/go-smtp"
)

// forwarder delivers messages over one connection.
type forwarder struct {
	store *store
	to    string
	pause time.Duration
	// client is nil while there is no connection.
	client *smtp.Client
}

// run delivers what is queued. What fails is tried again until it is delivered; nothing else goes over the connection
// before.
func (f *forwarder) run() {
	for id := range f.store.queue {
		for f.deliver(id) != nil {
			f.hangUp()
			time.Sleep(f.pause)
		}
		if err := f.store.remove(id); err != nil {
			fmt.Fprintln(os.Stderr, "floor: remove a message:", err)
		}
	}
}

// deliver sends a message from the store.
func (f *forwarder) deliver(id uint64) error {
	record, closer, err := f.store.db.Get(key(id))
	if err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	defer closer.Close()
	if f.client == nil {
		if f.client, err = smtp.Dial(f.to); err != nil {
			return err
		}
	}
	return f.send(parse(record))
}

func (f *forwarder) send(l letter) error {
	if err := f.client.Mail(l.from, nil); err != nil {
		return err
	}
	for _, to := range l.to {
		if err := f.client.Rcpt(to, nil); err != nil {
			return err
		}
	}
	w, err := f.client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(l.body); err != nil {
		return err
	}
	return w.Close()
}

func (f *forwarder) hangUp() {
	if f.client != nil {
		_ = f.client.Close()
		f.client = nil
	}
}
