package relay_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/spool"
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

// lingersIn names the directory of the process that TestAPodThatLingersSeesThatItIsLost starts.
const lingersIn = "POSTRIDER_TEST_LINGERS_IN"

// A pod that was told to end, and waits for an attempt in flight, sees as soon as any other that its spool is another's.
func TestAPodThatLingersSeesThatItIsLost(t *testing.T) {
	if dir := os.Getenv(lingersIn); dir != "" {
		linger(t, dir)
		return
	}
	dir := t.TempDir()
	former := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	former.Env = append(os.Environ(), lingersIn+"="+dir)
	out, err := former.StdoutPipe()
	if err == nil {
		err = former.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = former.Process.Kill(); _ = former.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "lingers\n" || err != nil {
		t.Fatalf("it says %q, %v", line, err)
	}
	s, err := spool.Open(filepath.Join(dir, "spool"), spool.Options{Logger: slog.New(slog.DiscardHandler), Holder: "second", Token: 1})
	if err != nil {
		t.Fatal(err)
	}
	if l := s.Ledger(); l.Queued != 1 {
		t.Errorf("the books: %+v", l)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// linger runs a pod that is told to end while an attempt is in flight at a server that says nothing.
func linger(t *testing.T, dir string) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(r *rig) {
		r.dir, r.uid = dir, "first"
		r.routeTo(silent.Addr().(*net.TCPAddr).Port)
		r.domain("example.net", "127.0.0.1")
	})
	r.mustSend("a@relay.example", "b@example.net", message("a@relay.example", "in flight"))
	if _, err := silent.Accept(); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.eventually("the ports to refuse", func() bool {
		c, err := net.Dial("tcp", r.address("smtp"))
		if err != nil {
			return false
		}
		defer c.Close()
		line, err := bufio.NewReader(c).ReadString('\n')
		return err == nil && strings.HasPrefix(line, "421")
	})
	time.Sleep(50 * time.Millisecond) // what ends with the ports has ended
	fmt.Println("lingers")
	select {} // until it is seen that the spool is another's, or the test ends
}
