package deliver_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/relay/deliver"
	"github.com/postrider/postrider/relay/route"
	"github.com/postrider/postrider/relay/smtptest"
)

// world is what can be dialled in a test whose time is not real: by address, what becomes of a connection.
type world struct {
	hosts   map[string]func(net.Conn)
	dialled []string
	seen    []error // by Observe
	began   time.Time
	wait    sync.WaitGroup
}

func (w *world) dial(ctx context.Context, _, address string) (net.Conn, error) {
	w.dialled = append(w.dialled, address)
	serve := w.hosts[address]
	if serve == nil { // a black hole
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: context.Cause(ctx)}
	}
	ours, theirs := net.Pipe()
	w.wait.Go(func() {
		serve(theirs)
		_ = theirs.Close()
	})
	return ours, nil
}

// run gives a test a client in a time that is not real.
func (w *world) run(t *testing.T, test func(t *testing.T, c *deliver.Client)) {
	synctest.Test(t, func(t *testing.T) {
		w.began = time.Now()
		c := deliver.New(deliver.Options{Dial: w.dial, Observe: func(_ route.Hop, err error) { w.seen = append(w.seen, err) }})
		test(t, c)
		c.CloseIdle()
		w.wait.Wait()
	})
}

// took compares the time since the client was made.
func (w *world) took(t *testing.T, want time.Duration) {
	t.Helper()
	if took := time.Since(w.began); took != want {
		t.Errorf("took %s, want %s", took, want)
	}
}

// friendly takes a message, step by step; after content it says what it is told to.
func friendly(done string) func(net.Conn) {
	return func(c net.Conn) {
		fmt.Fprintf(c, "220 hi\r\n")
		for r := bufio.NewReader(c); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if line != "DATA\r\n" {
				fmt.Fprintf(c, "250 ok\r\n")
				continue
			}
			fmt.Fprintf(c, "354 go\r\n")
			for line != ".\r\n" && err == nil {
				line, err = r.ReadString('\n')
			}
			fmt.Fprint(c, done)
		}
	}
}

func hosts(addrs ...string) route.Plan {
	var p route.Plan
	for _, a := range addrs {
		at := netip.MustParseAddrPort(a)
		p.Hops = append(p.Hops, route.Hop{Host: "mx.test", Port: int(at.Port()), Addrs: []netip.Addr{at.Addr()}})
	}
	return p
}

const (
	one   = "192.0.2.1:25"
	two   = "192.0.2.2:25"
	three = "[2001:db8::3]:25"
)

func TestNoReplyAfterTheDotIsWaitedForTenMinutes(t *testing.T) {
	w := &world{hosts: map[string]func(net.Conn){one: friendly(""), two: friendly("250 kept\r\n")}}
	w.run(t, func(t *testing.T, c *deliver.Client) {
		wantReplies(t, do(t, c, mail("a@x.test"), hosts(one, two)), "421 4.4.2 time-out")
		w.took(t, 10*time.Minute)
		if !slices.Equal(w.dialled, []string{one}) {
			t.Errorf("dialled %q: the message may have arrived", w.dialled)
		}
	})
}

// A server may answer everything at once, when it has dealt with the message. To give up before would make a duplicate.
func TestTheRepliesToOneFlightMayTakeAsLongAsThatToTheMessage(t *testing.T) {
	w := &world{hosts: map[string]func(net.Conn){one: func(c net.Conn) {
		r := bufio.NewReader(c)
		fmt.Fprintf(c, "220 hi\r\n")
		_, _ = r.ReadString('\n')
		fmt.Fprintf(c, "250-mx.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
		for line := ""; !strings.HasPrefix(line, "BDAT"); {
			line, _ = r.ReadString('\n')
		}
		_, _ = io.CopyN(io.Discard, r, int64(len(content)))
		time.Sleep(9 * time.Minute)
		fmt.Fprintf(c, "250 mail\r\n250 rcpt\r\n250 kept\r\n")
		_, _ = io.Copy(io.Discard, r)
	}}}
	w.run(t, func(t *testing.T, c *deliver.Client) {
		wantReplies(t, do(t, c, mail("a@x.test"), hosts(one)), "250 kept")
		w.took(t, 9*time.Minute)
	})
}

func TestABlackHoleCostsItsTimeOnce(t *testing.T) {
	w := &world{hosts: map[string]func(net.Conn){three: friendly("250 kept\r\n")}}
	w.run(t, func(t *testing.T, c *deliver.Client) {
		for range 3 {
			wantReplies(t, do(t, c, mail("a@x.test"), hosts(one, two, three)), "250 kept")
			c.CloseIdle()
		}
		w.took(t, time.Minute) // two addresses, 30 s each, and nothing for the second and third message
		if !slices.Equal(w.dialled, []string{one, two, three, three, three}) {
			t.Errorf("dialled %q", w.dialled)
		}
		time.Sleep(time.Minute)
		w.dialled = nil
		wantReplies(t, do(t, c, mail("a@x.test"), hosts(one, three)), "250 kept")
		if !slices.Equal(w.dialled, []string{one, three}) {
			t.Errorf("dialled %q after a while", w.dialled)
		}
	})
}

func TestTheOnlyAddressesAreTriedWhateverTheyDidBefore(t *testing.T) {
	w := &world{}
	w.run(t, func(t *testing.T, c *deliver.Client) {
		for range 2 {
			wantReplies(t, do(t, c, mail("a@x.test"), hosts(one, two)), "421 4.4.1 connect to mx.test[192.0.2.2]:25")
		}
		if !slices.Equal(w.dialled, []string{one, two, one, two}) {
			t.Errorf("dialled %q", w.dialled)
		}
		w.hosts = map[string]func(net.Conn){one: friendly("250 kept\r\n"), three: friendly("250 kept\r\n")}
		if err := c.Greet(t.Context(), "relay.test", hosts(one).Hops[0]); err != nil {
			t.Error(err)
		}
		c.CloseIdle()
		w.dialled = nil
		wantReplies(t, do(t, c, mail("a@x.test"), hosts(one, three)), "250 kept")
		if !slices.Equal(w.dialled, []string{one}) {
			t.Errorf("dialled %q: the first is up again", w.dialled)
		}
	})
}

func TestAnAttemptThatWeBreakOffBlamesNobody(t *testing.T) {
	w := &world{hosts: map[string]func(net.Conn){two: friendly("250 kept\r\n")}}
	w.run(t, func(t *testing.T, c *deliver.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c.Do(ctx, "relay.test", mail("a@x.test"), open, hosts(one, two))
		if len(w.dialled) != 1 || len(w.seen) != 0 {
			t.Errorf("dialled %q, saw %v", w.dialled, w.seen)
		}
		w.dialled, w.hosts[one] = nil, friendly("250 kept\r\n")
		wantReplies(t, do(t, c, mail("a@x.test"), hosts(one, two)), "250 kept")
		if !slices.Equal(w.dialled, []string{one}) {
			t.Errorf("dialled %q", w.dialled)
		}
	})
}

func TestSlowHostsAreNotWaitedForForever(t *testing.T) {
	dripping := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			for _, octet := range []byte(text) {
				if _, err := c.Write([]byte{octet}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
			_, _ = io.Copy(io.Discard, c)
		}
	}
	for name, tc := range map[string]struct {
		host func(net.Conn)
		want time.Duration
	}{
		"no greeting":               {dripping(""), 5 * time.Minute},
		"a greeting octet a second": {dripping("220-" + strings.Repeat("x", 1000)), 5 * time.Minute},
		"lines, an octet a second":  {dripping(strings.Repeat("220-x\r\n", 1000)), 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{hosts: map[string]func(net.Conn){one: tc.host, two: friendly("250 kept\r\n")}}
			w.run(t, func(t *testing.T, c *deliver.Client) {
				wantReplies(t, do(t, c, mail("a@x.test"), hosts(one)), "421 4.4.2 time-out")
				w.took(t, tc.want)
				wantReplies(t, do(t, c, mail("a@x.test"), hosts(one, two)), "250 kept")
				w.took(t, tc.want) // and is passed over meanwhile
			})
		})
	}
}

// A host that takes each block just in time would keep us for hours.
func TestAHostMustTakeTheContentAtSomeRate(t *testing.T) {
	slow := func(c net.Conn) {
		r := bufio.NewReader(c)
		for _, answer := range []string{"220 hi", "250 ok", "250 ok", "250 ok", "354 go"} {
			fmt.Fprintf(c, "%s\r\n", answer)
			_, _ = r.ReadString('\n')
		}
		for err := error(nil); err == nil; time.Sleep(170 * time.Second) {
			_, err = io.CopyN(io.Discard, r, 32<<10)
		}
	}
	w := &world{hosts: map[string]func(net.Conn){one: slow}}
	w.run(t, func(t *testing.T, c *deliver.Client) {
		size := int64(1 << 20)
		e := mail("a@x.test")
		e.Size = size
		o := c.Do(t.Context(), "relay.test", e, ofSize(size), hosts(one))[0]
		if !strings.HasPrefix(o.Reply.String(), "421 4.4.2") {
			t.Error(o.Reply)
		}
		if took, limit := time.Since(w.began), 3*time.Minute+time.Duration(size>>10)*time.Second; took < limit || took > limit+time.Minute {
			t.Errorf("took %s, want %s", took, limit)
		}
	})
}

type panicReader struct{ io.Reader }

func (panicReader) Close() error { return nil }

func TestAPanicIsTheEndOfOneAttempt(t *testing.T) {
	p := newPeer(t, smtptest.Script{})
	var log bytes.Buffer
	c := deliver.New(deliver.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	t.Cleanup(c.CloseIdle)
	for name, open := range map[string]func() (io.ReadCloser, error){
		"open": func() (io.ReadCloser, error) { panic("the spool is mad") },
		"read": func() (io.ReadCloser, error) { return panicReader{}, nil }, // its Reader is nil
	} {
		outcomes := c.Do(t.Context(), "relay.test", mail("a@x.test", "not sendable@x.test"), open, plan(hop(p.Port())))
		var got []string
		for _, o := range outcomes {
			got = append(got, o.Reply.String())
		}
		wantReplies(t, got, "451 4.3.0 internal error", "553 5.1.3")
		if !strings.Contains(log.String(), "panic in a delivery attempt") || !strings.Contains(log.String(), "attempt.go") {
			t.Errorf("%s: logged %q", name, log.String())
		}
		log.Reset()
		wantReplies(t, do(t, c, mail("a@x.test"), plan(hop(p.Port()))), "250")
	}
	if o := c.Probe(t.Context(), "relay.test", route.Plan{Hops: []route.Hop{withPanic(p.Port())}}, "a@x.test", false); o.Reply.Code != 451 {
		t.Error(o.Reply)
	}
}

// withPanic is a hop whose credentials cannot be compared, as a key must be.
func withPanic(port int) route.Hop {
	h := hop(port)
	h.Tokens = incomparable{}
	return h
}

type incomparable []int

func (incomparable) Token(context.Context) (string, error) { return "", nil }
func (incomparable) Forget(string)                         {}

// slowly takes a message after so long.
func slowly(after time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		fmt.Fprintf(c, "220 hi\r\n")
		for r := bufio.NewReader(c); ; {
			line, err := r.ReadString('\n')
			switch {
			case err != nil:
				return
			case strings.HasPrefix(line, "EHLO"):
				fmt.Fprintf(c, "250-mx.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
			case strings.HasPrefix(line, "BDAT"):
				_, _ = io.CopyN(io.Discard, r, int64(len(content)))
				time.Sleep(after)
				fmt.Fprintf(c, "250 mail\r\n250 rcpt\r\n250 kept\r\n")
			case line == "DATA\r\n":
				fmt.Fprintf(c, "250 mail\r\n250 rcpt\r\n354 go\r\n")
				for line != ".\r\n" && err == nil {
					line, err = r.ReadString('\n')
				}
				time.Sleep(after)
				fmt.Fprintf(c, "250 kept\r\n")
			}
		}
	}
}

// A relay that stops waits for the answer to what it has sent whole: to be cut off there would make a duplicate.
func TestAMessageThatWasSentWholeIsWaitedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		host      func(net.Conn)
		size      int64
		lastReply time.Duration
		want      string
		took      time.Duration
	}{
		"after the final dot":         {slowly(9 * time.Minute), 0, 0, "250 kept", 9 * time.Minute},
		"in one flight":               {slowly(9 * time.Minute), int64(len(content)), 0, "250 kept", 9 * time.Minute},
		"as long as it may":           {slowly(9 * time.Minute), 0, time.Minute, "", time.Second + time.Minute},
		"not before the message went": {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, 0, 0, "", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{hosts: map[string]func(net.Conn){one: tc.host}}
			w.run(t, func(t *testing.T, _ *deliver.Client) {
				c := deliver.New(deliver.Options{Dial: w.dial, LastReply: tc.lastReply})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				e := mail("a@x.test")
				e.Size = tc.size
				o := c.Do(ctx, "relay.test", e, open, hosts(one))[0]
				if said := o.Reply.String(); tc.want != "" && said != tc.want || tc.want == "" && o.Reply.Code/100 != 4 {
					t.Errorf("decided %q", said)
				}
				w.took(t, tc.took)
				c.CloseIdle()
			})
		})
	}
}
