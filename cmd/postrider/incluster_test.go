package main

import (
	"fmt"
	"io"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/test/kubetest"
)

// inCluster is a MailRelay "outbound" with two pods in a namespace of a real API server. The kubelet is played; the relay in the
// pods answers as fakeRelay does, and its listeners are a sink.
type inCluster struct {
	t         *testing.T
	namespace string
	relay     *fakeRelay
	sink      *smtptest.Sink
}

const spooled = "01M83K1R6SB9GKN4DS06"

func newInCluster(t *testing.T) *inCluster {
	t.Helper()
	c := &inCluster{t: t, namespace: server.Namespace(t), relay: newFakeRelay(t)}
	var err error
	c.sink, err = smtptest.NewSink(smtptest.Options{Data: func(smtptest.Message) reply.Reply {
		return reply.Reply{Code: 250, Enhanced: "2.0.0", Text: "queued as " + spooled}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.sink.Close)
	node := server.Kubelet(t, kubetest.Kubelet{
		Exec:    c.exec,
		Forward: func(string, int32) string { return c.sink.Addr() },
		Log: func(pod, container string, _ bool) string {
			return fmt.Sprintf("%s of %s: user=ada password=hunter2 to=<ada@inbox.example>\n", container, pod)
		},
	})
	c.create(node)
	return c
}

// exec is `relay ctl METHOD PATH` in a pod.
func (c *inCluster) exec(_ string, command []string, in io.Reader, out, complaint io.Writer) error {
	if len(command) != 4 || command[0] != "/relay" || command[1] != "ctl" {
		return fmt.Errorf("unexpected command %v", command)
	}
	var body io.Reader
	if in != nil {
		body = in
	}
	w := httptest.NewRecorder()
	c.relay.ServeHTTP(w, httptest.NewRequest(command[2], command[3], body))
	_, _ = out.Write(w.Body.Bytes())
	if w.Code != 200 {
		fmt.Fprintf(complaint, "relay: %s %s: %s\n", command[2], command[3], w.Result().Status)
		return kubetest.Exited(1)
	}
	return nil
}

func (c *inCluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *inCluster) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: c.namespace, Name: name, Labels: map[string]string{"postrider.dev/relay": "outbound"}}
}

func (c *inCluster) create(node string) {
	c.t.Helper()
	relay := &v1alpha1.MailRelay{}
	for _, o := range objectsOf(c.t, "../../config/samples/quickstart.yaml") {
		o.SetNamespace(c.namespace)
		c.must(server.Client.Create(c.t.Context(), o))
		if r, ok := o.(*v1alpha1.MailRelay); ok {
			relay = r
		}
	}
	relay.Status = v1alpha1.MailRelayStatus{Selector: "postrider.dev/relay=outbound", Replicas: 2}
	for _, name := range []string{"outbound-0", "outbound-1"} {
		relay.Status.Pods = append(relay.Status.Pods, v1alpha1.PodStatus{Name: name, State: v1alpha1.PodServing, Queued: new(int64(3))})
		pod := &corev1.Pod{ObjectMeta: c.meta(name), Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Name: "relay", Image: "postrider:test", Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "hunter2"}},
		}}}}
		c.must(server.Client.Create(c.t.Context(), pod))
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "relay", RestartCount: 1}}}
		c.must(server.Client.Status().Update(c.t.Context(), pod))
	}
	c.must(server.Client.Status().Update(c.t.Context(), relay))
	c.must(server.Client.Create(c.t.Context(), &corev1.ServiceAccount{ObjectMeta: c.meta("checkout")}))
	c.must(server.Client.Create(c.t.Context(), &corev1.Secret{ObjectMeta: c.meta("outbound-material"), StringData: map[string]string{"k": "hunter2"}}))
}

// mailRelay is it as it is now.
func (c *inCluster) mailRelay() *v1alpha1.MailRelay {
	c.t.Helper()
	relay := &v1alpha1.MailRelay{}
	c.must(server.Client.Get(c.t.Context(), client.ObjectKey{Namespace: c.namespace, Name: "outbound"}, relay))
	return relay
}

// state has the operator say of a pod what it does.
func (c *inCluster) state(pod int, state v1alpha1.PodState, queued int64) {
	c.t.Helper()
	relay := c.mailRelay()
	relay.Status.Pods[pod].State, relay.Status.Pods[pod].Queued = state, &queued
	c.must(server.Client.Status().Update(c.t.Context(), relay))
}

// cli runs the program for the relay's namespace.
func (c *inCluster) cli(kubeconfig string, args ...string) (code int, out, complaint string) {
	c.t.Helper()
	return cli(c.t, append(args, "-n", c.namespace, "--kubeconfig", kubeconfig)...)
}

// user is the kubeconfig of somebody who has just these rights in the namespace.
func (c *inCluster) user(rules []rbacv1.PolicyRule) string {
	c.t.Helper()
	name := "user-" + c.namespace
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, GenerateName: "user-"}, Rules: rules}
	c.must(server.Client.Create(c.t.Context(), role))
	name += role.Name
	c.must(server.Client.Create(c.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}))
	file := server.KubeConfig(c.t)
	config, err := clientcmd.LoadFromFile(file)
	c.must(err)
	for _, user := range config.AuthInfos {
		user.Impersonate = name
	}
	c.must(clientcmd.WriteToFile(*config, file))
	return file
}
