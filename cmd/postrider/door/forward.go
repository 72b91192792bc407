package door

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// Forward connects to a port of a pod by way of the API server, as kubectl port-forward does. Until the connection is
// closed, a port of this machine's loopback interface leads there, too.
func Forward(ctx context.Context, config *rest.Config, namespace, pod string, port int32) (net.Conn, error) {
	dialer, err := newDialer(config, namespace, pod)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	conn, err := forward(ctx, dialer, port)
	if err != nil {
		stop()
		return nil, fmt.Errorf("port-forward to %s: %w", pod, err)
	}
	return &forwarded{Conn: conn, stop: stop}, nil
}

// forwarded is a connection that takes its forwarder with it.
type forwarded struct {
	net.Conn
	stop context.CancelFunc
}

// Close implements net.Conn.
func (f *forwarded) Close() error {
	defer f.stop()
	return f.Conn.Close()
}

// forward runs a forwarder, which ends with the context, and connects to it.
func forward(ctx context.Context, dialer httpstream.Dialer, port int32) (net.Conn, error) {
	f, err := portforward.NewOnAddressesForStreamingWithContext(ctx, dialer, []string{"127.0.0.1"},
		[]string{fmt.Sprintf("0:%d", port)}, make(chan struct{}), io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	failed := make(chan error, 1)
	go func() { failed <- f.ForwardPorts() }()
	select {
	case <-f.Ready:
	case err := <-failed:
		return nil, err
	}
	ports, err := f.GetPorts()
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
}

// newDialer speaks WebSocket, and SPDY to what is too old for it.
func newDialer(config *rest.Config, namespace, pod string) (httpstream.Dialer, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	url := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	socket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	return portforward.NewFallbackDialerForStreaming(socket, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}
