//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net/smtp"
	"net/textproto"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// diskSize is that of the small volume, in MiB.
const diskSize = 1200

// A volume fills up. Before it is too late new mail is answered 452 4.3.1, while what is queued is delivered; when there is
// room mail is taken again, without anybody's doing. Even with not an octet left nothing is lost.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t, "diskfull")
	s := newSetup(t, "diskfull", options{trusted: trusting(), storage: "size: 1Gi, storageClassName: diskfull"})
	holdUp(t)
	l := &load{setup: s}
	stop := l.start(t, 4)
	l.grows(t, 300, 60*time.Second)
	disk.fill(t, 120)
	eventually(t, 20*time.Second, "new mail is answered 452 4.3.1", s.noRoom)
	stop()
	if st, err := s.podStatus(0); err != nil || st.Queue.Queued < 300 {
		t.Errorf("queued are %d: %v", st.Queue.Queued, err)
	}
	letGo(t)
	eventually(t, 120*time.Second, "what is queued is delivered all the same", s.drained)
	if err := s.noRoom(); err != nil {
		t.Errorf("the disk is full, and mail is taken: %v", err)
	}
	disk.free(t)
	stop = l.start(t, 4)
	l.grows(t, 100, 20*time.Second)
	if err := s.serving(0, 0); err != nil {
		t.Errorf("it did not go on by itself: %v", err)
	}

	holdUp(t)
	l.grows(t, 100, 60*time.Second)
	disk.fill(t, 4)
	disk.fillUp(t)
	letGo(t)
	time.Sleep(10 * time.Second)
	disk.free(t)
	l.grows(t, 100, 2*time.Minute)
	stop()
	l.account(t, 1)
}

// noRoom checks that a transaction is refused for want of room.
func (s setup) noRoom() error {
	client, err := smtp.Dial(s.service("25"))
	if err != nil {
		return err
	}
	defer client.Close()
	err = client.Mail("sender@" + s.domain)
	if err == nil {
		return errors.New("MAIL is taken")
	}
	var reply *textproto.Error
	if !errors.As(err, &reply) || reply.Code != 452 || !strings.HasPrefix(reply.Msg, "4.3.1 ") {
		return fmt.Errorf("MAIL is answered otherwise: %w", err)
	}
	return nil
}

// disk is a file system of its own, mounted where the node sees it.
type disk struct{ dir string }

// smallDisk makes one, and a volume on it.
func smallDisk(t *testing.T, class string) disk {
	t.Helper()
	d := disk{volumes(t, class, 1, "node-0")[0]}
	image := d.dir + ".img"
	for _, argv := range [][]string{
		{"truncate", "-s", fmt.Sprint(diskSize, "M"), image},
		{"mkfs.ext4", "-q", "-F", "-m", "0", image},
		d.onNode("mount", "-o", "loop", image, d.dir),
	} {
		execute(t, argv...)
	}
	t.Cleanup(func() { execute(t, d.onNode("umount", "-l", d.dir)...) })
	return d
}

// onNode is a command in the node's mount namespace.
func (d disk) onNode(argv ...string) []string {
	return append([]string{"nsenter", "--mount=" + filepath.Join(world.cluster, "run/mnt"), "--"}, argv...)
}

// fill leaves so many MiB.
func (d disk) fill(t *testing.T, leave int) {
	t.Helper()
	out := execute(t, d.onNode("stat", "-f", "-c", "%a %S", d.dir)...)
	blocks, size, _ := strings.Cut(strings.TrimSpace(out), " ")
	have, err1 := strconv.Atoi(blocks)
	each, err2 := strconv.Atoi(size)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	execute(t, d.onNode("fallocate", "-l", fmt.Sprint(have*each-leave<<20), d.dir+"/filler")...)
}

// fillUp leaves nothing.
func (d disk) fillUp(t *testing.T) {
	t.Helper()
	execute(t, d.onNode("sh", "-c", "cat /dev/zero >"+d.dir+"/filler2 2>/dev/null || sync")...)
}

func (d disk) free(t *testing.T) {
	t.Helper()
	execute(t, d.onNode("rm", "-f", d.dir+"/filler", d.dir+"/filler2")...)
}

func execute(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}
