//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A namespace that is deleted ends, mail or no mail. The volume stays, an event in the operator's namespace tells of it, and
// a relay made again with a claim for it delivers what it holds.
func TestNamespaceDeletion(t *testing.T) {
	s := newSetup(t, "namespace", options{trusted: []string{"10.213.0.0/24", "10.214.0.0/24"}})
	apply(t, s.namespace, policy(1))
	eventually(t, 20*time.Second, "the policy binds", func() error { return s.programmed(1) })
	l := &load{setup: s}
	l.fill(t, waiting)
	claim, err := get[corev1.PersistentVolumeClaim](s.namespace, "pvc", "spool-"+s.pod(0))
	if err != nil {
		t.Fatal(err)
	}
	left := l.left(t)

	must(t)(kubectl("delete", "namespace", s.namespace, "--wait=false"))
	eventually(t, 8*time.Minute, "the namespace ends", func() error {
		out, err := kubectl("get", "namespace", s.namespace, "--ignore-not-found", "-o", "name")
		if err == nil && out != "" {
			err = errors.New(out + " is still there")
		}
		return err
	})
	eventually(t, 30*time.Second, "an event tells of the volume", func() error { return told(claim, left) })
	volume, err := get[corev1.PersistentVolume]("", "pv", claim.Spec.VolumeName)
	if err != nil || volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		t.Fatalf("the volume is %+v, %v", volume.Spec, err)
	}

	// As the user guide says.
	must(t)(kubectl("patch", "pv", volume.Name, "--type=json", "-p", `[{"op": "remove", "path": "/spec/claimRef"}]`))
	must(t)(kubectl("create", "namespace", s.namespace))
	must(t)(kubectl("label", "namespace", s.namespace, scenarioLabel+"=", "pod-security.kubernetes.io/enforce=restricted"))
	apply(t, s.namespace, fmt.Sprintf(salvageManifest, claim.Name, volume.Name, volume.Spec.StorageClassName))
	s.apply(t, options{})
	if duplicates := l.lossless(t, 3*time.Minute); duplicates != 0 {
		t.Errorf("%d duplicates", duplicates)
	}
	l.report(t)
	st, err := s.podStatus(0)
	if err != nil || !st.Ledger.Balanced() || st.Ledger.Accepted != int64(l.count()) {
		t.Errorf("the books: %+v, %v", st.Ledger, err)
	}
}

const salvageManifest = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: %s
  labels: {app.kubernetes.io/managed-by: postrider, postrider.dev/relay: outbound}
spec:
  volumeName: %s
  storageClassName: %s
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
`

// told checks that an event in the operator's namespace names the volume of a claim and what it held.
func told(claim corev1.PersistentVolumeClaim, held int64) error {
	out, err := kubectl("get", "events", "-n", operatorNamespace, "-o", "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}")
	if err != nil {
		return err
	}
	format := fmt.Sprintf("VolumeKept Volume %s of claim %s/%s (MailRelay %s; ", claim.Spec.VolumeName, claim.Namespace, claim.Name, relayName)
	for line := range strings.Lines(out) {
		var n int64
		if rest, ours := strings.CutPrefix(line, format); ours {
			if _, err := fmt.Sscanf(rest, "%d recipients when last asked", &n); err == nil && n > 0 && n <= held {
				return nil
			}
		}
	}
	return fmt.Errorf("no event says %q and at most %d: %s", format, held, out)
}
