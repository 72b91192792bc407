//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"testing"
)

// swaks submits a message as the scenario's user, over STARTTLS.
func (s setup) swaks(t *testing.T, subject string) {
	t.Helper()
	if out, err := s.trySwaks(subject); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
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
