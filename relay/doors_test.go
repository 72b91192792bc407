package relay

import (
	"os"
	"path/filepath"
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
