package relay_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay"
	"github.com/postrider/postrider/relay/config"
)

// A pod that was given up does not begin, nor does one whose token is older than that of the spool; the pod that has its
// place takes up the token while it runs.
func TestFenced(t *testing.T) {
	r := newRig(t, func(r *rig) { r.uid = "first" })
	r.config.Relay.Fences = map[string]config.Fence{r.pod: {Token: 2, Lost: "before"}}
	r.configure()
	r.eventually("the token to be taken up", func() bool { return r.status().Generation == r.config.Generation })
	r.halt()
	refused := func(why, uid string) {
		t.Helper()
		err := relay.Run(context.Background(), relay.Options{
			ConfigDir: r.configDir(), DataDir: r.dir, Pod: r.pod, PodUID: uid, Bind: r.bind, Log: slog.New(slog.DiscardHandler),
		})
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: began, and ended with %v", uid, err)
		}
	}
	refused("given up as lost", "before")
	r.config.Relay.Fences = nil
	r.configure()
	refused("token 2, this process has 0", "second")
	r.config.Relay.Fences = map[string]config.Fence{r.pod: {Token: 3, Lost: "first"}}
	r.configure()
	refused("given up as lost", "first")
	r.uid = "second"
	r.start()
}
