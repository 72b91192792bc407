package relay

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/postrider/postrider/relay/config"
)

// TestAMetricsTokenIsWithdrawn: one that the configuration no longer names opens nothing.
func TestAMetricsTokenIsWithdrawn(t *testing.T) {
	d := newDoors(&Relay{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ file, want string }{{"token", "secret"}, {"", ""}} {
		d.takeToken(&settings{config: &config.Config{Dir: dir}}, tc.file)
		if got := d.metricsToken(); got != tc.want {
			t.Errorf("with the file %q: %q, want %q", tc.file, got, tc.want)
		}
	}
}

// TestTheAdminSocketIsPrivateFromTheStart: whatever the umask, there is no moment at which others could open it.
func TestTheAdminSocketIsPrivateFromTheStart(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "s")
	listener, err := private().Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
