package operator_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/status"
)

const bumpAnnotation = "postrider.dev/config-bump"

// node plays the kubelet and the relay processes in the pods; all else is real. A pod's volume holds what it was
// when the pod started or when the annotation last changed: the node never looks by itself.
type node struct {
	t    *testing.T
	mu   sync.Mutex
	pods map[types.UID]*relayPod
	next int
	// queued are the queues of pods, by name.
	queued map[string]int64
	// silent pods don't answer, unready ones are not ready, stale ones keep the configuration they have.
	silent, unready, stale map[string]bool
	// lingering pods do not end.
	lingering bool
	// on are the nodes that pods are put on, by name, while they are not lost; the others are on one that has no object.
	// On lost nodes nobody does anything.
	on   map[string]string
	lost map[string]bool
	// volumes are those that claims are bound to, by name.
	volumes map[string]string
	// exceeds are pods with more connections open than they may have.
	exceeds map[string]bool
	// missing are the tags of images that cannot be had; formats are what relays say that they read, by the tag.
	missing map[string]bool
	formats map[string]int
	// resizes says that the storage lets volumes grow.
	resizes bool
	// wantKeys says that pods have seen a token with a key that they don't know.
	wantKeys bool
}

// relayPod is the process in one pod.
type relayPod struct {
	node    *node
	name    string
	tag     string
	ip      string
	bump    string
	address string
	server  *http.Server

	mu       sync.Mutex
	material map[string][]byte
	relay    string // relay.json
}

func startNode(t *testing.T) *node {
	n := &node{
		t: t, pods: map[types.UID]*relayPod{}, queued: map[string]int64{},
		silent: map[string]bool{}, unready: map[string]bool{}, stale: map[string]bool{}, missing: map[string]bool{}, formats: map[string]int{},
		on: map[string]string{}, lost: map[string]bool{}, volumes: map[string]string{},
		exceeds: map[string]bool{},
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			n.sync(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
		for _, p := range n.pods {
			_ = p.server.Close()
		}
	})
	return n
}

// set changes what the node does.
func (n *node) set(f func(n *node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

// sync does what a kubelet does for every pod. What fails is tried again.
func (n *node) sync(ctx context.Context) {
	n.bindClaims(ctx)
	n.resizeClaims(ctx)
	var pods corev1.PodList
	if server.Client.List(ctx, &pods) != nil {
		return
	}
	n.mu.Lock()
	lingering := n.lingering
	n.mu.Unlock()
	present := map[types.UID]bool{}
	for i := range pods.Items {
		p := &pods.Items[i]
		present[p.UID] = true
		switch {
		case n.isLost(p.Spec.NodeName):
		case p.DeletionTimestamp != nil && lingering:
		case p.DeletionTimestamp != nil:
			_ = server.Client.Delete(ctx, p, client.GracePeriodSeconds(0), client.Preconditions{UID: &p.UID})
		case p.Spec.NodeName == "":
			_ = server.Client.SubResource("binding").Create(ctx, p, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: n.nodeFor(p.Name)}})
		default:
			n.run(ctx, p)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for uid, p := range n.pods {
		if !present[uid] {
			_ = p.server.Close()
			delete(n.pods, uid)
		}
	}
}

func (n *node) isLost(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost[name]
}

func (n *node) nodeFor(pod string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name := n.on[pod]; name != "" && !n.lost[name] {
		return name
	}
	return "node"
}

func (n *node) volumeFor(claim string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.volumes[claim]
}

// bindClaims gives each claim a volume that is deleted with it, if nothing else is said.
func (n *node) bindClaims(ctx context.Context) {
	var claims corev1.PersistentVolumeClaimList
	if server.Client.List(ctx, &claims) != nil {
		return
	}
	for i := range claims.Items {
		c := &claims.Items[i]
		if c.Status.Phase == corev1.ClaimBound || c.DeletionTimestamp != nil {
			continue
		}
		if name := n.volumeFor(c.Name); name != "" {
			c.Spec.VolumeName = name
		} else {
			_ = server.Client.Create(ctx, volumeOf(c))
			c.Spec.VolumeName = volumeOf(c).Name
		}
		if server.Client.Update(ctx, c) == nil {
			c.Status.Phase, c.Status.Capacity = corev1.ClaimBound, c.Spec.Resources.Requests
			_ = server.Client.Status().Update(ctx, c)
		}
	}
}

func volumeOf(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-" + string(c.UID)},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: c.Spec.Resources.Requests, AccessModes: c.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			ClaimRef:                      &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/spool"}},
		},
	}
}

// resizeClaims plays the resizer of the storage.
func (n *node) resizeClaims(ctx context.Context) {
	n.mu.Lock()
	resizes := n.resizes
	n.mu.Unlock()
	var claims corev1.PersistentVolumeClaimList
	if !resizes || server.Client.List(ctx, &claims) != nil {
		return
	}
	for i := range claims.Items {
		c := &claims.Items[i]
		asked, has := c.Spec.Resources.Requests[corev1.ResourceStorage], c.Status.Capacity[corev1.ResourceStorage]
		if c.Status.Phase == corev1.ClaimBound && has.Cmp(asked) < 0 {
			c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: asked}
			_ = server.Client.Status().Update(ctx, c)
		}
	}
}

// tagOf is the tag of a pod's image.
func tagOf(p *corev1.Pod) string {
	_, tag, _ := strings.Cut(p.Spec.Containers[0].Image, ":")
	return tag
}

// pullFails says so of a pod whose image cannot be had.
func (n *node) pullFails(ctx context.Context, p *corev1.Pod) {
	if len(p.Status.ContainerStatuses) > 0 {
		return
	}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "not found"}}
	p.Status = corev1.PodStatus{
		Phase:             corev1.PodPending,
		Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Now()}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "relay", Image: p.Spec.Containers[0].Image, State: waiting}},
	}
	_ = server.Client.Status().Update(ctx, p)
}

// run starts the relay in a pod, mounts its volume when the annotation has changed, and reports.
func (n *node) run(ctx context.Context, p *corev1.Pod) {
	n.mu.Lock()
	pod, started := n.pods[p.UID]
	ready, stale, missing := !n.unready[p.Name], n.stale[p.Name], n.missing[tagOf(p)]
	n.mu.Unlock()
	if missing && !started {
		n.pullFails(ctx, p)
		return
	}
	if !started {
		n.start(ctx, p)
		return
	}
	if bump := p.Annotations[bumpAnnotation]; bump != pod.bump && !stale {
		pod.bump = bump
		pod.mount(ctx, p.Namespace)
	}
	want := corev1.ConditionFalse
	if ready {
		want = corev1.ConditionTrue
	}
	if len(p.Status.Conditions) == 1 && p.Status.Conditions[0].Status == want && p.Status.PodIP == pod.ip {
		return
	}
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: pod.ip, PodIPs: []corev1.PodIP{{IP: pod.ip}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: want}},
	}
	_ = server.Client.Status().Update(ctx, p)
}

func (n *node) start(ctx context.Context, p *corev1.Pod) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Error(err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next++
	pod := &relayPod{
		node: n, name: p.Name, tag: tagOf(p), bump: p.Annotations[bumpAnnotation],
		ip: fmt.Sprintf("10.99.%d.%d", n.next/250, n.next%250+1), address: listener.Addr().String(),
	}
	pod.mount(ctx, p.Namespace)
	pod.server = &http.Server{
		Handler:   http.HandlerFunc(pod.answer),
		TLSConfig: &tls.Config{GetConfigForClient: pod.tls, MinVersion: tls.VersionTLS12},
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	n.pods[p.UID] = pod
	go func() { _ = pod.server.ServeTLS(listener, "", "") }()
}

// mount reads the Secret of which the pod's volume is made.
func (p *relayPod) mount(ctx context.Context, namespace string) {
	relay := p.name[:len(p.name)-2]
	var s corev1.Secret
	if err := server.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: relay + "-material"}, &s); err != nil {
		return
	}
	var c corev1.ConfigMap
	if err := server.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: relay + "-config"}, &c); err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.material = s.Data
	p.relay = c.Data[config.RelayFile]
}

// handoff is how far the pod is with its hand-off: it is done when a test says that its queue is empty.
func (p *relayPod) handoff(queued int64) *status.Handoff {
	p.mu.Lock()
	defer p.mu.Unlock()
	var relay config.Relay
	if json.Unmarshal([]byte(p.relay), &relay) != nil || relay.Handoff == nil || relay.Handoff.From != p.name {
		return nil
	}
	switch {
	case len(relay.Handoff.Peers) == 0:
		return &status.Handoff{Phase: status.HandoffWaiting, Problem: "there is none"}
	case queued > 0:
		return &status.Handoff{Phase: status.HandoffRunning}
	}
	return &status.Handoff{Phase: status.HandoffDone}
}

func (p *relayPod) mounted(name string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.material[name]
}

func (p *relayPod) tls(*tls.ClientHelloInfo) (*tls.Config, error) {
	certificate, err := tls.X509KeyPair(p.mounted("admin.crt"), p.mounted("admin.key"))
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(p.mounted("admin-clients.crt"))
	return &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}, nil
}

func (p *relayPod) answer(w http.ResponseWriter, _ *http.Request) {
	index, err := render.DecodeIndex(p.mounted(config.IndexFile))
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	p.node.mu.Lock()
	queued, silent, wantKeys, exceeds := p.node.queued[p.name], p.node.silent[p.name], p.node.wantKeys, p.node.exceeds[p.name]
	format := cmp.Or(p.node.formats[p.tag], config.Format)
	p.node.mu.Unlock()
	if silent {
		http.Error(w, "silent", http.StatusServiceUnavailable)
		return
	}
	s := status.Status{Pod: p.name, Version: cmp.Or(strings.TrimPrefix(p.tag, "test"), "v1"), ConfigFormat: format, Generation: index.Generation,
		Queue: status.Queue{Queued: queued}, TokenKeysWanted: wantKeys, Exceeds: exceeds}
	s.Handoff = p.handoff(queued)
	if queued > 0 {
		s.Queue.Oldest = new(time.Now().Add(-time.Minute))
	}
	_ = json.NewEncoder(w).Encode(s)
}

// dial connects to the pod that has the address.
func (n *node) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods {
		if p.ip == host {
			return (&net.Dialer{}).DialContext(ctx, network, p.address)
		}
	}
	return nil, errors.New("no route to host")
}
