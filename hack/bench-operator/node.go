package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/postrider/postrider/controllers/desired"
)

// bumpAnnotation makes a kubelet bring a pod's volumes up to date.
const bumpAnnotation = "postrider.dev/config-bump"

// nodes play schedulers, kubelets, storage and the relays in the pods.
type nodes struct {
	client client.Client
	// queued is how many recipients each relay says it has.
	queued atomic.Int64

	mu   sync.Mutex
	pods map[types.NamespacedName]*relayPod
	next int
}

// atOnce is how many pods the nodes see to at the same time.
const atOnce = 16

// setUp adds them to a manager.
func (n *nodes) setUp(mgr ctrl.Manager) error {
	options := controller.Options{MaxConcurrentReconciles: atOnce}
	err := ctrl.NewControllerManagedBy(mgr).Named("pods").For(&corev1.Pod{}).WithOptions(options).Complete(reconcile.Func(n.pod))
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).Named("claims").For(&corev1.PersistentVolumeClaim{}).WithOptions(options).Complete(reconcile.Func(n.claim))
}

// claim binds a volume claim.
func (n *nodes) claim(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var c corev1.PersistentVolumeClaim
	if err := n.client.Get(ctx, request.NamespacedName, &c); err != nil || c.Status.Phase == corev1.ClaimBound {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if c.Spec.VolumeName == "" {
		c.Spec.VolumeName = "volume-" + string(c.UID)
		if err := n.client.Update(ctx, &c); err != nil {
			return ctrl.Result{}, err
		}
	}
	c.Status.Phase, c.Status.Capacity = corev1.ClaimBound, c.Spec.Resources.Requests
	return ctrl.Result{}, n.client.Status().Update(ctx, &c)
}

// pod does for a pod what comes next.
func (n *nodes) pod(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var p corev1.Pod
	if err := n.client.Get(ctx, request.NamespacedName, &p); err != nil {
		n.end(request.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	switch {
	case p.DeletionTimestamp != nil:
		return ctrl.Result{}, client.IgnoreNotFound(n.client.Delete(ctx, &p, client.GracePeriodSeconds(0)))
	case p.Spec.NodeName == "":
		return ctrl.Result{}, n.client.SubResource("binding").Create(ctx, &p, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "node"}})
	}
	return ctrl.Result{}, n.run(ctx, &p)
}

// run starts the relay of a pod, has it read its volume when the operator hastens the kubelet, and says that it is ready.
func (n *nodes) run(ctx context.Context, p *corev1.Pod) error {
	relay, err := n.relayOf(p)
	if err != nil {
		return err
	}
	if bump := p.Annotations[bumpAnnotation]; relay.mounted.Load() == nil || bump != relay.bump {
		if err := relay.mount(ctx, n.client, p.Namespace, p.Labels[desired.RelayLabel]); err != nil {
			return err
		}
		relay.bump = bump
	}
	if p.Status.PodIP == relay.ip {
		return nil
	}
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: relay.ip, PodIPs: []corev1.PodIP{{IP: relay.ip}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	return n.client.Status().Update(ctx, p)
}

func (n *nodes) relayOf(p *corev1.Pod) (*relayPod, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := client.ObjectKeyFromObject(p)
	if relay, ok := n.pods[key]; ok {
		return relay, nil
	}
	n.next++
	relay, err := startRelay(p.Name, fmt.Sprintf("127.80.%d.%d", n.next/250, n.next%250+1), &n.queued)
	if err == nil {
		n.pods[key] = relay
	}
	return relay, err
}

func (n *nodes) end(key types.NamespacedName) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if relay, ok := n.pods[key]; ok {
		relay.close()
		delete(n.pods, key)
	}
}

func (n *nodes) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, relay := range n.pods {
		relay.close()
	}
}
