// Command floor is the least that a relay can do, from good parts of others: emersion/go-smtp, one synced pebble
// write before each 250, and delivery of everything to one smart host. The bench measures the relay beside it, to see
// what its own work costs.
//
// It is no relay: it checks nothing, forgets its queue when it ends (though not what it stored), never gives a
// message up, and is ended with a signal. Its directory has to be new.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/emersion/go-smtp"
)

// options of the program.
type options struct {
	listen string
	// to is host:port of the smart host; empty to keep what is accepted.
	to          string
	dir         string
	connections int
	// pause after a delivery that failed.
	pause time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:2525", "host:port for SMTP")
	flag.StringVar(&o.to, "to", "", "host:port of the smart host; none: mail is accepted and kept")
	flag.StringVar(&o.dir, "dir", "", "new directory for the store")
	flag.IntVar(&o.connections, "connections", 20, "connections to the smart host")
	flag.DurationVar(&o.pause, "pause", time.Second, "time until a delivery that failed is tried again")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// run serves until the process is ended.
func run(o options) error {
	s, err := openStore(o.dir)
	if err != nil {
		return err
	}
	if o.to != "" {
		s.queue = make(chan uint64, queueLength)
	}
	for range o.connections {
		go (&forwarder{store: s, to: o.to, pause: o.pause}).run() // ends with the process
	}
	l, err := net.Listen("tcp", o.listen) //nolint:noctx // it listens as long as the process lives
	if err != nil {
		return err
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{store: s}, nil }))
	server.Domain = "floor.bench.example"
	return server.Serve(l)
}
