//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/smtp"
	"sync"
	"sync/atomic"
	"time"
)

// load sends messages, each with a Message-ID of its own, over several connections, and remembers which were answered
// 250. Whatever else happens to a message is the relay's to say: it is not sent again.
type load struct {
	setup
	// pause is how long a connection waits between two messages. With tls, it is encrypted (STARTTLS).
	pause time.Duration
	tls   *tls.Config
	// each is how many messages go over a connection, so that the next may lead to another pod; 0 for no end.
	each     int
	sequence atomic.Int64
	mu       sync.Mutex
	accepted []string
	errors   []error
}

// run sends over so many connections at a time until the context ends.
func (l *load) run(ctx context.Context, connections int) {
	var senders sync.WaitGroup
	for range connections {
		senders.Go(func() {
			for ctx.Err() == nil {
				if err := l.session(ctx); err != nil {
					l.mu.Lock()
					l.errors = append(l.errors, err)
					l.mu.Unlock()
					// The relay is away: a moment, then again.
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	senders.Wait()
}

// session sends over one connection until it breaks, or has had its share.
func (l *load) session(ctx context.Context) error {
	connection, err := net.DialTimeout("tcp", l.service("25"), time.Second)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	client, err := smtp.NewClient(connection, l.hostname)
	if err != nil {
		return err
	}
	if l.tls != nil {
		if err := client.StartTLS(l.tls.Clone()); err != nil {
			return err
		}
	}
	for n := 0; ctx.Err() == nil && (l.each == 0 || n < l.each); n++ {
		if err := connection.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			return err
		}
		id := fmt.Sprintf("%d@%s", l.sequence.Add(1), l.domain)
		if err := l.send(client, id); err != nil {
			return err
		}
		l.mu.Lock()
		l.accepted = append(l.accepted, "<"+id+">")
		l.mu.Unlock()
		time.Sleep(l.pause)
	}
	return client.Quit()
}

func (l *load) send(client *smtp.Client, id string) error {
	if err := client.Mail("sender@" + l.domain); err != nil {
		return err
	}
	if err := client.Rcpt("recipient@" + l.to); err != nil {
		return err
	}
	body, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(body, "From: sender@%s\r\nTo: recipient@%s\r\nDate: %s\r\nMessage-ID: <%s>\r\nSubject: load\r\n\r\n%s\r\n",
		l.domain, l.to, time.Now().UTC().Format(time.RFC1123Z), id, filler); err != nil {
		return err
	}
	return body.Close()
}

// filler makes a message about 1 KiB large.
var filler = func() string {
	line := "All that was answered 250 arrives, whatever happens to the process.\r\n"
	text := ""
	for len(text) < 1024 {
		text += line
	}
	return text
}()
