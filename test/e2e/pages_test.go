//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestQuickStart follows docs/quick-start.md to the letter: every command, in order, in one shell.
func TestQuickStart(t *testing.T) {
	commands := blocks(t, "docs/quick-start.md", "sh")
	if len(commands) < 6 {
		t.Fatalf("only %d blocks of commands found", len(commands))
	}
	must(t)(kubectl("delete", "namespace", "quick-start", "--ignore-not-found", "--wait=true"))
	out := run(t, root, commands...)
	for _, want := range []string{
		`deployment "postrider-manager" successfully rolled out`,
		"mailrelay.postrider.dev/outbound condition met",
		"._domainkey.shop.example. IN TXT",
		`"msg":"accepted"`,
		`"msg":"attempt"`,
		"Message 01",
		`namespace "quick-start" deleted`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("nothing says %q", want)
		}
	}
}

// TestReadme follows the README from its first configuration to the first mail, with a certificate of the test's own, a
// password that need not be typed, and Unbound for the world's DNS.
func TestReadme(t *testing.T) {
	const namespace = "mail"
	must(t)(kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=true"))
	t.Cleanup(func() {
		if t.Failed() {
			describe(t, namespace)
		}
		must(t)(kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")) // it takes half of the pods' grace period
	})
	dir := t.TempDir()
	certificate, key := world.ca.PairPEM("mx1.example.com")
	configuration := strings.Replace(blocks(t, "README.md", "yaml")[0], "  egress:\n", "  dns: {resolvers: [\""+nodeIP+":53\"]}\n  egress:\n", 1)
	for name, text := range map[string][]byte{"fullchain.pem": certificate, "key.pem": key, "first.yaml": []byte(configuration)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tool, err := filepath.Abs(filepath.Join(root, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(tool, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	run(t, root, "make bin/postrider")
	commands := blocks(t, "README.md", "sh")
	secrets, first := commands[len(commands)-2], commands[len(commands)-1]
	run(t, dir, strings.Replace(secrets, "htpasswd -nB newsletter", "htpasswd -nbB newsletter PASSWORD", 1))
	eventually(t, time.Minute, "the keys are made", func() error {
		_, err := kubectl("get", "-n", namespace, "secret", "example-com-dkim")
		return err
	})
	eventually(t, time.Minute, "the records are published", func() error { return publish(dir, namespace) })
	must(t)(kubectl("wait", "-n", namespace, "mr/mx1", "sd/example-com", "--for=condition=Ready", "--timeout=120s"))
	must(t)(kubectl("wait", "-n", namespace, "mr/mx1", "--for=condition=ConfigCurrent", "--timeout=60s"))
	forward, send, _ := strings.Cut(first, "&\n")
	out := run(t, dir, forward+"&\nuntil (exec 3<>/dev/tcp/127.0.0.1/5870) 2>/dev/null; do sleep 0.1; done", send, "kill %1")
	if !strings.Contains(out, " queued as ") {
		t.Error("the message was not accepted")
	}
}

// publish puts what `postrider dns records` prints into the test's DNS.
func publish(dir, namespace string) error {
	cmd := exec.Command("bin/postrider", "dns", "records", "-n", namespace, "mx1")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("postrider dns records: %w", err)
	}
	records := regexp.MustCompile(`(?m)^(\S+)\. IN (TXT .+)$`).FindAllStringSubmatch(string(out), -1)
	if len(records) < 4 {
		return fmt.Errorf("only %d records yet:\n%s", len(records), out)
	}
	for _, r := range records {
		if err := world.dns.Set(r[1], r[2]); err != nil {
			return err
		}
	}
	return nil
}

// blocks are the blocks of a language on a page.
func blocks(t *testing.T, page, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, block := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		all = append(all, block[1])
	}
	return all
}

// run runs commands in one shell that ends at the first that fails, and returns what they print, each after itself.
func run(t *testing.T, dir string, commands ...string) string {
	t.Helper()
	script := "set -euo pipefail\n"
	for _, command := range commands {
		whole := strings.ReplaceAll(strings.TrimSpace(command), "\\\n", "") // lines that go on
		for _, line := range strings.Split(whole, "\n") {
			script += "echo '$ '" + quoted(line) + "\n" + line + "\n"
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// quoted is a line as one word of a shell.
func quoted(line string) string { return "'" + strings.ReplaceAll(line, "'", `'\''`) + "'" }
