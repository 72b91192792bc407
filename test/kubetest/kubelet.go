package kubetest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// idle is how long a stream may be silent.
const idle = time.Minute

// Kubelet plays what the API server asks a node's kubelet for: to run something in a container, to connect to a port of a
// pod, and for logs. The protocols are the real ones.
type Kubelet struct {
	// Exec runs a command; an error of exit code is what it returns.
	Exec func(pod string, command []string, in io.Reader, out, complaint io.Writer) error
	// Forward is the address that connections to a port of a pod go to.
	Forward func(pod string, port int32) (address string)
	// Log is that of a container, or of the one before its restart.
	Log func(pod, container string, before bool) string
}

// Kubelet makes a node with a kubelet that lives until the test ends, and returns the node's name.
func (s *Server) Kubelet(t *testing.T, k Kubelet) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.exec)
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.forward)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.log)
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseInt(at.Port(), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "node-"}}
	if err := s.Client.Create(context.Background(), node); err != nil {
		t.Fatal(err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: at.Hostname()}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(port)
	if err := s.Client.Status().Update(context.Background(), node); err != nil {
		t.Fatal(err)
	}
	return node.Name
}

func (k Kubelet) exec(w http.ResponseWriter, req *http.Request) {
	options, err := remotecommand.NewOptions(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, req, k, req.PathValue("pod"), "", req.PathValue("container"), req.URL.Query()["command"], options,
		idle, idle, remotecommand.SupportedStreamingProtocols)
}

// ExecInContainer implements remotecommand.Executor.
func (k Kubelet) ExecInContainer(_ context.Context, pod, _, _ string, command []string, in io.Reader, out, complaint io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return k.Exec(pod, command, in, out, complaint)
}

func (k Kubelet) forward(w http.ResponseWriter, req *http.Request) {
	options, err := portforward.NewV4Options(req)
	if err != nil {
		options = &portforward.V4Options{} // SPDY names its ports in the streams
	}
	portforward.ServePortForward(w, req, k, req.PathValue("pod"), "", options, idle, idle, portforward.SupportedProtocols)
}

// PortForward implements portforward.PortForwarder.
func (k Kubelet) PortForward(ctx context.Context, pod, _ string, port int32, stream io.ReadWriteCloser) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", k.Forward(pod, port))
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, stream)
		_ = conn.Close()
	}()
	_, err = io.Copy(stream, conn)
	return ignoreClosed(err)
}

// ignoreClosed passes on what is not the end of a conversation.
func ignoreClosed(err error) error {
	if err != nil && strings.Contains(err.Error(), "use of closed network connection") {
		return nil
	}
	return err
}

func (k Kubelet) log(w http.ResponseWriter, req *http.Request) {
	fmt.Fprint(w, k.Log(req.PathValue("pod"), req.PathValue("container"), req.URL.Query().Get("previous") == "true"))
}

// Exited is the end of a command with an exit code.
type Exited int

// Error implements error.
func (e Exited) Error() string { return "exit code " + strconv.Itoa(int(e)) }

// String implements fmt.Stringer, as the streams' exit errors do.
func (e Exited) String() string { return e.Error() }

// Exited says that it is an exit.
func (Exited) Exited() bool { return true }

// ExitStatus is the code.
func (e Exited) ExitStatus() int { return int(e) }
