//go:build e2e

package e2e

import (
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

// An operator of another version comes while mail goes through two relays. One is upgraded by hand: nothing of it restarts until
// its admin says so. The other one is upgraded by itself, pod by pod. Neither loses a message.
func TestOperatorUpgrade(t *testing.T) {
	byHand, automatic := newRolling(t, "upgrade-by-hand", 2), newRolling(t, "upgrade-auto", 2)
	must(t)(kubectl("patch", "mailrelay", relayName, "-n", byHand.namespace, "--type=merge", "-p", `{"spec":{"upgrade":"Manual"}}`))
	eventually(t, 60*time.Second, "both rest", byHand.resting)
	kept, before := byHand.pods(t), automatic.pods(t)
	old := byHand.image(t)
	next := strings.TrimSuffix(old, old[strings.LastIndexByte(old, ':'):]) + ":next"
	tagImage(t, old, next)

	watched := automatic.watchReady(t)
	t.Cleanup(func() { setRelayImage(t, old) })
	took := automatic.rolled(t, before, func() { setRelayImage(t, next) })
	watched()
	if got := automatic.image(t); got != next {
		t.Errorf("its pods run %s", got)
	}
	eventually(t, 60*time.Second, "the other says what waits", func() error {
		mr, err := byHand.relay()
		if err != nil {
			return err
		}
		return isTrue(mr.Status.Conditions, v1alpha1.ConditionUpgradePending)
	})
	if now := byHand.pods(t); !maps.Equal(now, kept) || byHand.image(t) != old {
		t.Errorf("its pods were replaced: %v, %v", kept, now)
	}

	watched = byHand.watchReady(t)
	byHand.rolled(t, kept, func() {
		must(t)(kubectl("patch", "mailrelay", relayName, "-n", byHand.namespace, "--type=merge", "-p", `{"spec":{"version":"next"}}`))
	})
	watched()
	if got := byHand.image(t); got != next {
		t.Errorf("its pods run %s", got)
	}
	byHand.settle(t)
	automatic.settle(t)
	t.Logf("upgraded by itself in %.1f s from the change of the operator on", took.Seconds())
}

// image is that of the relay's first pod.
func (r *rolling) image(t *testing.T) string {
	t.Helper()
	pod, err := get[corev1.Pod](r.namespace, "pod", r.pod(0))
	if err != nil {
		t.Fatal(err)
	}
	return pod.Spec.Containers[0].Image
}

// tagImage gives an image on the node another name besides.
func tagImage(t *testing.T, image, name string) {
	t.Helper()
	out, err := exec.Command("ctr", "--address="+filepath.Join(world.cluster, "run", "containerd.sock"), "--namespace=k8s.io",
		"images", "tag", "--force", image, name).CombinedOutput()
	if err != nil {
		t.Fatalf("tagging %s: %v\n%s", image, err, out)
	}
}

// setRelayImage has an operator run that brings another relay image.
func setRelayImage(t *testing.T, image string) {
	t.Helper()
	must(t)(kubectl("-n", operatorNamespace, "set", "env", "deployment", "--all", "RELAY_IMAGE="+image))
	must(t)(kubectl("-n", operatorNamespace, "rollout", "status", "deployment", "--timeout=120s"))
}
