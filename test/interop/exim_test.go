//go:build interop

package interop

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/status"
	"github.com/postrider/postrider/test/peers"
)

// Exim offers no DSN, so the relay itself tells the sender that mail was relayed; what Exim refuses bounces.
func TestExim(t *testing.T) {
	p := newPlace(t)
	exim, err := peers.StartExim(peers.EximOptions{Program: filepath.Join(root, "bin/peers/exim4-daemon-light/usr/sbin/exim4"),
		Dir: p.path("exim"), Address: p.ip(25), Hostname: "mx.exim.test", Domain: "exim.test"})
	p.must(err)
	p.stopAfter(exim.Stop)
	p.dns("mx.exim.test", "A "+p.ip(25))
	p.dns("exim.test", "MX 10 mx.exim.test.")
	r := p.relay(trusting + toMX)

	message := text("sender@exim.test", "ada@exim.test", "to Exim", 30_000)
	r.accepts(submission{Source: p.ip(trusted), From: "sender@exim.test", To: []string{"ada@exim.test", "nobody@exim.test"}, Message: message,
		MailOptions: []string{"BODY=8BITMIME", "RET=HDRS", "ENVID=QQ314159"}, RcptOptions: []string{"NOTIFY=SUCCESS,FAILURE"}})
	var told []notice
	eventually(t, "Exim has the message, and the sender two notices", func() error {
		got, err := exim.Messages()
		if err != nil {
			return err
		}
		arrived := 0
		for _, m := range got {
			if strings.HasSuffix(strings.ReplaceAll(m, "\n", "\r\n"), message) {
				arrived++
			}
		}
		if told, err = notices(got); err != nil {
			return err
		}
		if arrived != 1 || len(told) != 2 {
			return fmt.Errorf("the message is there %d times, with %d notices\n%s", arrived, len(told), exim.Log())
		}
		return nil
	})
	r.settles(status.Ledger{Accepted: 4, Delivered: 3, Failed: 1})
	for _, n := range told {
		if n.Message["Original-Envelope-Id"] != "QQ314159" {
			t.Errorf("the notice is about another envelope: %v", n.Message)
		}
		if n.Returned.Type != "text/rfc822-headers" {
			t.Errorf("RET=HDRS returned %s", n.Returned.Type)
		}
		if n.Recipients[0]["Action"] == "failed" {
			n.action(t, "nobody@exim.test", "failed", "5.1.1")
		} else {
			n.action(t, "ada@exim.test", "relayed", "2.")
		}
	}
}
