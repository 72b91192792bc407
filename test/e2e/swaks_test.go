//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// swaks submits a message as the scenario's user, over STARTTLS. Like any client it comes back when it is told to:
// the key of a domain that is ready reaches a pod a moment later.
func (s setup) swaks(t *testing.T, subject string) {
	t.Helper()
	eventually(t, 30*time.Second, "submitted", func() error {
		out, err := s.trySwaks(subject)
		if err != nil && !strings.Contains(out, "451 4.7.5 There is no DKIM key") {
			t.Fatalf("%v\n%s", err, out)
		}
		return err
	})
}

func (s setup) trySwaks(subject string) (string, error) {
	cmd := exec.Command("swaks", "--server", s.address, "--port", "587", "--tls", "--timeout", "20s",
		"--auth", "PLAIN", "--auth-user", user, "--auth-password", password,
		"--from", "sender@"+s.domain, "--to", "recipient@"+s.to,
		"--header", "Subject: "+subject, "--body", "It arrives, signed.\n.a line that begins with a dot")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("swaks: %w", err)
	}
	return string(out), err
}
