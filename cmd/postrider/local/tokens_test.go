package local

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/smtp"
	"net/textproto"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/smtptest"
)

// Without a cluster nothing can be said about tokens: the admin is told, and so is who shows one.
func TestTokensNeedACluster(t *testing.T) {
	r, ca, port := newRig(t), smtptest.NewCA(), freePort(t)
	cert, key := ca.PairPEM("mx1.shop.example")
	encode := base64.StdEncoding.EncodeToString
	listener := fmt.Sprintf("  - {name: submission, port: %d, mode: Submission, tls: {mode: Required, secretRef: {name: tls}}, auth: {serviceAccounts: {}}}\n", port)
	r.write("relay.yaml", strings.Replace(r.relay("outbound", r.port, ""), "  access:", listener+"  access:", 1)+fmt.Sprintf(`
---
apiVersion: v1
kind: Secret
metadata: {name: tls}
data: {tls.crt: %s, tls.key: %s}
`, encode(cert), encode(key)))
	r.start()
	r.until("the warning", r.heard("Warning: MailRelay default/outbound: spec.listeners[1].auth.serviceAccounts: there is no cluster here"))
	r.until("the listener", r.heard("listener submission on"))

	c, err := smtp.Dial(fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{RootCAs: ca.Pool(), ServerName: "mx1.shop.example"}); err != nil {
		t.Fatal(err)
	}
	token := "eyJ" + strings.Repeat("x", 100) + ".y.z"
	var refused *textproto.Error
	if err := c.Auth(smtp.PlainAuth("", "checkout", token, "127.0.0.1")); !errors.As(err, &refused) || refused.Code != 454 {
		t.Errorf("a token is answered %v", err)
	}
}
