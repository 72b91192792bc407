package smtptest

import (
	"bufio"
	"encoding/base64"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/reply"
)

// converse sends what a client says, all at once, and returns what it hears until the end.
func converse(t *testing.T, addr, says string) []string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, says+"QUIT\r\n"); err != nil {
		t.Fatal(err)
	}
	var heard []string
	for lines := bufio.NewScanner(c); lines.Scan(); {
		heard = append(heard, lines.Text())
	}
	return heard
}

func TestSinkTakesChunks(t *testing.T) {
	s, err := NewSink(Options{Offer: []string{"CHUNKING", "DSN"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	heard := strings.Join(converse(t, s.Addr(), "EHLO c.test\r\n"+
		"MAIL FROM:<a@x.test> RET=HDRS\r\nRCPT TO:<\"b>\"@x.test> NOTIFY=NEVER\r\nBDAT 3\r\n.\r\nBDAT 2 LAST\r\nQU"+
		"MAIL FROM:<a@x.test>\r\nBDAT 2 LAST\r\n..MAIL FROM:<a@x.test>\r\n"), " ")
	if !strings.HasSuffix(heard, "2.1.0 ok 250 2.1.5 ok 250 2.0.0 3 octets 250 2.0.0 kept "+
		"250 2.1.0 ok 503 5.5.1 no valid recipients 503 5.5.1 a transaction is open 221 2.0.0 bye") {
		t.Errorf("heard %s", heard)
	}
	m := s.Messages()
	if len(m) != 1 || string(m[0].Data) != ".\r\nQU" || !m[0].Chunked || m[0].Params != "RET=HDRS" ||
		!slices.Equal(m[0].To, []string{`"b>"@x.test`}) || !slices.Equal(m[0].RecipientParams, []string{"NOTIFY=NEVER"}) {
		t.Errorf("kept %+v", m)
	}
}

func TestSinkSpeaksLMTP(t *testing.T) {
	full := reply.Reply{Code: 452, Enhanced: "4.2.2", Text: "full"}
	s, err := NewSink(Options{LMTP: true, Each: func(_ Message, to string) reply.Reply {
		if strings.HasPrefix(to, "full") {
			return full
		}
		return reply.Reply{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	heard := strings.Join(converse(t, s.Addr(), "EHLO c.test\r\nLHLO c.test\r\n"+
		"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nRCPT TO:<full@x.test>\r\nDATA\r\nx\r\n.\r\n"), " ")
	if !strings.Contains(heard, "500 5.5.1 EHLO") || !strings.HasSuffix(heard, "354 go ahead 250 2.0.0 kept 452 4.2.2 full 221 2.0.0 bye") {
		t.Errorf("heard %s", heard)
	}
	if m := s.Messages(); len(m) != 1 || !slices.Equal(m[0].To, []string{"b@x.test"}) {
		t.Errorf("kept %+v", m)
	}
}

func TestPeerReadsChunks(t *testing.T) {
	p, err := NewPeer(Script{Steps: map[string][]Step{"BDAT": {Reply("250 chunk")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	heard := converse(t, p.Addr(), "BDAT 6 LAST\r\nQUIT\r\n")
	if !slices.Equal(heard, []string{"220 peer.test ESMTP", "250 chunk", "221 2.0.0 bye"}) || !slices.Equal(p.Contents(), []string{"QUIT\r\n"}) {
		t.Errorf("heard %q, kept %q", heard, p.Contents())
	}
}

func TestSinkWantsAUTHUnderTLSOnly(t *testing.T) {
	s, err := NewSink(Options{TLS: NewCA().ServerTLS("sink.test"), Auth: func(string, string, string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	secret := base64.StdEncoding.EncodeToString([]byte("\x00user\x00pass"))
	heard := strings.Join(converse(t, s.Addr(), "EHLO c.test\r\nAUTH PLAIN "+secret+"\r\nMAIL FROM:<a@x.test>\r\n"), " ")
	if strings.Contains(heard, "AUTH PLAIN") || !strings.HasSuffix(heard, "503 5.5.1 not now 530 5.7.0 AUTH first 221 2.0.0 bye") {
		t.Errorf("heard %s", heard)
	}
}
