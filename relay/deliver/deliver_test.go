package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/deliver"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/route"
	"github.com/postrider/postrider/relay/smtptest"
)

var loopback = netip.MustParseAddr("127.0.0.1")

const content = "Subject: x\r\n\r\n.dot\r\n..two\r\nend\r\n"

func newPeer(t *testing.T, s smtptest.Script) *smtptest.Peer {
	t.Helper()
	p, err := smtptest.NewPeer(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func newSink(t testing.TB, o smtptest.Options) *smtptest.Sink {
	t.Helper()
	s, err := smtptest.NewSink(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func newClient(t testing.TB) *deliver.Client {
	t.Helper()
	c := deliver.New(deliver.Options{})
	t.Cleanup(c.CloseIdle)
	return c
}

// newImpatient returns a client for peers that keep it waiting.
func newImpatient(t testing.TB) *deliver.Client {
	t.Helper()
	wait := 500 * time.Millisecond
	c := deliver.New(deliver.Options{Timeouts: deliver.Timeouts{Connect: wait, Greeting: wait, Hello: wait,
		Handshake: wait, Mail: wait, Rcpt: wait, Data: wait, Block: wait, Done: wait}})
	t.Cleanup(c.CloseIdle)
	return c
}

func hop(port int) route.Hop {
	return route.Hop{Host: "mx.test", Port: port, Addrs: []netip.Addr{loopback}, TLS: config.HopOpportunistic}
}

func plan(hops ...route.Hop) route.Plan { return route.Plan{Route: "mx", Hops: hops} }

func mail(to ...string) *envelope.Envelope {
	e := &envelope.Envelope{ID: "1", Domain: "x.test", ReversePath: "from@sender.test", Size: int64(len(content))}
	for _, address := range to {
		e.Recipients = append(e.Recipients, envelope.Recipient{Address: address, State: envelope.Queued})
	}
	return e
}

func open() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }

// do delivers and returns the replies, each on one line.
func do(t *testing.T, c *deliver.Client, e *envelope.Envelope, p route.Plan) []string {
	t.Helper()
	var replies []string
	for _, o := range c.Do(t.Context(), "relay.test", e, open, p) {
		if o.At.IsZero() {
			t.Error("an outcome without a time")
		}
		replies = append(replies, o.Reply.String())
	}
	return replies
}

// wantReplies compares the beginnings.
func wantReplies(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestDeliveredAsItIs(t *testing.T) {
	for _, without := range []string{"", "PIPELINING", "SIZE"} {
		s := newSink(t, smtptest.Options{Without: []string{without}})
		c := newClient(t)
		e := mail("a@x.test", `"b c"@x.test`)
		e.EightBit, e.UTF8 = true, true
		wantReplies(t, do(t, c, e, plan(hop(s.Port()))), "250 2.0.0 kept", "250 2.0.0 kept")
		m := s.Messages()
		if len(m) != 1 || string(m[0].Data) != content || m[0].From != "from@sender.test" || m[0].Helo != "relay.test" ||
			!slices.Equal(m[0].To, []string{"a@x.test", `"b c"@x.test`}) {
			t.Errorf("without %q: %+v", without, m)
		}
		want := fmt.Sprintf("SIZE=%d BODY=8BITMIME SMTPUTF8", len(content))
		if without == "SIZE" {
			want = "BODY=8BITMIME SMTPUTF8"
		}
		if len(m) == 1 && m[0].Params != want {
			t.Errorf("without %q: parameters %q", without, m[0].Params)
		}
	}
}

func TestOutcomeNamesTheHop(t *testing.T) {
	s := newSink(t, smtptest.Options{TLS: smtptest.NewCA().ServerTLS("other.test")})
	o := newClient(t).Do(t.Context(), "relay.test", mail("a@x.test"), open, plan(hop(s.Port())))[0]
	if o.NextHop != fmt.Sprintf("mx.test[127.0.0.1]:%d", s.Port()) || o.TLS != "TLS1.3 TLS_AES_128_GCM_SHA256" {
		t.Errorf("%+v", o)
	}
	if m := s.Messages(); len(m) != 1 || !m[0].TLS {
		t.Errorf("%+v", m)
	}
}

func TestOneFlightWithPipelining(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{
		"MAIL": {{}}, "RCPT": {{}}, // silent: what follows must come without being asked for
		"DATA": {smtptest.Reply("250 mail", "250 rcpt", "250 rcpt", "354 data")},
	}})
	e := mail("a@x.test", "b@x.test")
	wantReplies(t, do(t, newClient(t), e, plan(hop(p.Port()))), "250", "250")
	want := []string{"CONNECT", "EHLO relay.test", "MAIL FROM:<from@sender.test>", "RCPT TO:<a@x.test>", "RCPT TO:<b@x.test>", "DATA"}
	if lines := p.Lines(); !slices.Equal(lines, want) {
		t.Errorf("heard %q", lines)
	}
}

func TestRepliesDecidePerRecipient(t *testing.T) {
	reply := smtptest.Reply
	for name, tc := range map[string]struct {
		steps map[string][]smtptest.Step
		to    string
		want  []string
	}{
		"one refused":        {map[string][]smtptest.Step{"RCPT TO:<b": {reply("550-5.1.1 no", "550 5.1.1 such user")}}, "a b c", []string{"250", "550 5.1.1 no; such user", "250"}},
		"all refused":        {map[string][]smtptest.Step{"RCPT": {reply("550 5.1.1 no")}, "DATA": {reply("503 5.5.1 no")}}, "a b", []string{"550 5.1.1 no", "550 5.1.1 no"}},
		"mail refused":       {map[string][]smtptest.Step{"MAIL": {reply("550 5.7.1 spf")}, "RCPT": {reply("503 no")}, "DATA": {reply("503 no")}}, "a b", []string{"550 5.7.1 spf", "550 5.7.1 spf"}},
		"mail deferred":      {map[string][]smtptest.Step{"MAIL": {reply("450 4.7.1 grey")}, "RCPT": {reply("503 no")}, "DATA": {reply("503 no")}}, "a", []string{"450 4.7.1 grey"}},
		"data refused":       {map[string][]smtptest.Step{"DATA": {reply("451 4.3.0 later")}, "RCPT TO:<b": {reply("550 5.1.1 no")}}, "a b", []string{"451 4.3.0 later", "550 5.1.1 no"}},
		"content refused":    {map[string][]smtptest.Step{".": {reply("554 5.7.1 spam")}}, "a b", []string{"554 5.7.1 spam", "554 5.7.1 spam"}},
		"data for nobody":    {map[string][]smtptest.Step{"RCPT": {reply("550 5.1.1 no")}}, "a", []string{"550 5.1.1 no"}},
		"no enhanced":        {map[string][]smtptest.Step{".": {reply("250 ok 1.2.3")}}, "a", []string{"250 ok 1.2.3"}},
		"foreign enhanced":   {map[string][]smtptest.Step{".": {reply("250 5.0.0 ok")}}, "a", []string{"250 5.0.0 ok"}},
		"data accepted":      {map[string][]smtptest.Step{"DATA": {reply("250 ok")}}, "a", []string{"451 4.5.0 DATA was answered with: 250 ok"}},
		"421 at the end":     {map[string][]smtptest.Step{".": {reply("421 4.3.2 bye")}}, "a", []string{"421 4.3.2 bye"}},
		"421 at mail":        {map[string][]smtptest.Step{"MAIL": {reply("421 4.7.0 slow down")}, "RCPT": {{Close: true}}}, "a", []string{"421 4.7.0 slow down"}},
		"dies after data":    {map[string][]smtptest.Step{".": {{Close: true}}}, "a", []string{"421 4.4.2"}},
		"silent after data":  {map[string][]smtptest.Step{".": {{}}}, "a", []string{"421 4.4.2 time-out"}},
		"garbage after data": {map[string][]smtptest.Step{".": {reply("ok")}}, "a", []string{"451 4.5.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, pipelining := range []bool{true, false} {
				if !pipelining {
					if name == "data for nobody" {
						continue // DATA is not even said
					}
					tc.steps["EHLO"] = []smtptest.Step{reply("250 peer.test")}
				}
				p := newPeer(t, smtptest.Script{Steps: tc.steps})
				second := newPeer(t, smtptest.Script{})
				hops := plan(hop(p.Port()), hop(second.Port()))
				var to []string
				for r := range strings.FieldsSeq(tc.to) {
					to = append(to, r+"@x.test")
				}
				wantReplies(t, do(t, newImpatient(t), mail(to...), hops), tc.want...)
				if second.Connections() != 0 {
					t.Error("the second host was asked too")
				}
			}
		})
	}
}

func TestNextHostWhileTheTroubleIsTheHosts(t *testing.T) {
	for name, steps := range map[string]map[string][]smtptest.Step{
		"refused in the greeting": {"GREETING": {smtptest.Reply("554 5.7.1 go away")}},
		"deferred in greeting":    {"GREETING": {smtptest.Reply("421 4.3.2 busy")}},
		"closed at once":          {"GREETING": {{Close: true}}},
		"silent":                  {"GREETING": {{}}},
		"EHLO refused":            {"EHLO": {smtptest.Reply("550 no")}, "HELO": {smtptest.Reply("550 no")}},
		"EHLO deferred":           {"EHLO": {smtptest.Reply("421 busy")}},
		"dies at MAIL":            {"MAIL": {{Close: true}}},
		"dies at RCPT":            {"RCPT": {{Close: true}}},
		"dies at DATA":            {"DATA": {{Close: true}}},
		"garbled":                 {"MAIL": {smtptest.Reply("2x0 ok")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, good := newPeer(t, smtptest.Script{Steps: steps}), newSink(t, smtptest.Options{})
			wantReplies(t, do(t, newImpatient(t), mail("a@x.test"), plan(hop(bad.Port()), hop(good.Port()))), "250 2.0.0 kept")
			got := do(t, newImpatient(t), mail("a@x.test"), plan(hop(bad.Port())))
			if len(got) != 1 || got[0][0] != '4' {
				t.Errorf("on its own: %q, want it deferred", got)
			}
		})
	}
}

// closedPort is one that nobody listens on, and that nobody else can take meanwhile: it is bound.
func closedPort(t *testing.T) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: loopback.As4()}); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return bound.(*syscall.SockaddrInet4).Port
}

func TestRefusedConnection(t *testing.T) {
	o := newClient(t).Do(t.Context(), "relay.test", mail("a@x.test"), open, plan(hop(closedPort(t))))[0]
	if !strings.HasPrefix(o.Reply.String(), "421 4.4.1 connect to mx.test[127.0.0.1]:") || o.NextHop != "" {
		t.Errorf("%+v", o)
	}
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan()), "421 4.4.1 there is no next hop")
}

func TestAddressesAreTriedInOrderUpToTen(t *testing.T) {
	s := newSink(t, smtptest.Options{})
	var dialled []string
	c := deliver.New(deliver.Options{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		if !strings.HasPrefix(address, "127.0.0.1:") {
			return nil, errors.New("unreachable")
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}})
	t.Cleanup(c.CloseIdle)
	h := hop(s.Port())
	h.Addrs = []netip.Addr{netip.MustParseAddr("2001:db8::1"), loopback}
	wantReplies(t, do(t, c, mail("a@x.test"), plan(h)), "250")
	if want := fmt.Sprintf("[2001:db8::1]:%d 127.0.0.1:%d", s.Port(), s.Port()); strings.Join(dialled, " ") != want {
		t.Errorf("dialled %q", dialled)
	}
	dialled = nil
	h.Addrs = slices.Repeat(h.Addrs[:1], 6)
	wantReplies(t, do(t, c, mail("a@x.test"), plan(h, h)), "421 4.4.1 connect to mx.test[2001:db8::1]")
	if len(dialled) != 10 {
		t.Errorf("dialled %d addresses", len(dialled))
	}
}

func TestHELOForThoseWhoDoNotKnowEHLO(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"EHLO": {smtptest.Reply("502 what?")}}})
	wantReplies(t, do(t, newClient(t), mail("a@x.test"), plan(hop(p.Port()))), "250")
	if want := ".dot\r\n..two"; !strings.Contains(content, want) || len(p.Contents()) != 1 ||
		p.Contents()[0] != strings.ReplaceAll(content, "\r\n.", "\r\n..")+".\r\n" {
		t.Errorf("content %q", p.Contents())
	}
}

func TestWhatAHopCannotTakeIsNotMangled(t *testing.T) {
	s := newSink(t, smtptest.Options{Without: []string{"8BITMIME", "SMTPUTF8"}, MaxBytes: 31})
	e := mail("a@x.test")
	wantReplies(t, do(t, newClient(t), e, plan(hop(s.Port()))), "552 5.3.4")
	e.Size, e.EightBit = 10, true
	wantReplies(t, do(t, newClient(t), e, plan(hop(s.Port()))), "554 5.6.3")
	e.UTF8 = true
	wantReplies(t, do(t, newClient(t), e, plan(hop(s.Port()))), "550 5.6.7")
	if s.Accepted() != 0 {
		t.Error("it was sent all the same")
	}
}

func TestAddressesThatWouldBeCommands(t *testing.T) {
	s := newSink(t, smtptest.Options{})
	e := mail("a@x.test", "b@x.test>\r\nRCPT TO:<c@x.test", "d e@x.test", "ä@x.test", `"q > \" "@x.test`)
	wantReplies(t, do(t, newClient(t), e, plan(hop(s.Port()))), "250", "553 5.1.3", "553 5.1.3", "553 5.6.7", "250")
	e = mail("a@x.test")
	e.ReversePath = "x> SIZE=1"
	wantReplies(t, do(t, newClient(t), e, plan(hop(s.Port()))), "553 5.1.7")
}

func TestTooManyRecipientsGoInFurtherTransactions(t *testing.T) {
	s := newSink(t, smtptest.Options{MaxRecipients: 2})
	got := do(t, newClient(t), mail("a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test"), plan(hop(s.Port())))
	wantReplies(t, got, "250", "250", "250", "250", "250")
	if s.Accepted() != 3 || s.Connections() != 1 {
		t.Errorf("%d transactions over %d connections", s.Accepted(), s.Connections())
	}
	var many []string
	for i := range 250 {
		many = append(many, fmt.Sprintf("r%d@x.test", i))
	}
	s = newSink(t, smtptest.Options{})
	do(t, newClient(t), mail(many...), plan(hop(s.Port())))
	if s.Accepted() != 3 || s.Recipients() != 250 {
		t.Errorf("%d transactions for %d recipients", s.Accepted(), s.Recipients())
	}
}

func TestMessageThatCannotBeRead(t *testing.T) {
	s := newSink(t, smtptest.Options{})
	fail := errors.New("disk gone")
	broken := io.MultiReader(strings.NewReader("Subject: x\r\n"), errReader{fail})
	for name, open := range map[string]func() (io.ReadCloser, error){
		"open":  func() (io.ReadCloser, error) { return nil, fail },
		"read":  func() (io.ReadCloser, error) { return io.NopCloser(broken), nil },
		"short": func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("Subject: x\r\n")), nil },
	} {
		o := newClient(t).Do(t.Context(), "relay.test", mail("a@x.test"), open, plan(hop(s.Port())))[0]
		if o.Reply.Code != 451 || o.Reply.Enhanced != "4.3.0" {
			t.Errorf("%s: %s", name, o.Reply)
		}
	}
	if s.Accepted() != 0 {
		t.Error("half a message was delivered")
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestEndOfContext(t *testing.T) {
	p := newPeer(t, smtptest.Script{Steps: map[string][]smtptest.Step{"DATA": {{}}}})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	c := deliver.New(deliver.Options{})
	start := time.Now()
	o := c.Do(ctx, "relay.test", mail("a@x.test"), open, plan(hop(p.Port())))[0]
	if o.Reply.Class() != reply.Transient || time.Since(start) > 10*time.Second {
		t.Errorf("%s after %s", o.Reply, time.Since(start))
	}
	o = c.Do(ctx, "relay.test", mail("a@x.test"), open, plan(hop(p.Port())))[0]
	if !strings.HasPrefix(o.Reply.String(), "421 4.3.2") {
		t.Errorf("%s", o.Reply)
	}
}

// dialThat dials, and breaks the first write of a message everywhere but at addr.
func dialThat(addr string, broken error) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil && address != addr {
			return breaking{c, broken}, nil
		}
		return c, err
	}
}

type breaking struct {
	net.Conn
	broken error
}

func (b breaking) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "MAIL") {
		return 0, errors.Join(b.broken, b.Close())
	}
	return b.Conn.Write(p)
}
