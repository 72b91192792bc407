package door

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// Container is the container of a relay pod that is asked.
const Container = "relay"

// Cluster returns the doors of the pods that a label selector selects; pods that don't run are left out. The
// error says when there is none.
func Cluster(ctx context.Context, config *rest.Config, namespace, selector string) ([]Door, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	var doors []Door
	for _, p := range pods.Items {
		if p.Status.Phase == corev1.PodRunning {
			doors = append(doors, Door{Name: p.Name, ask: askPod(config, client, namespace, p.Name)})
		}
	}
	if len(doors) == 0 {
		return nil, fmt.Errorf("no pod with %s runs in namespace %s", selector, namespace)
	}
	return doors, nil
}

// askPod runs `/relay ctl METHOD PATH` in a pod.
func askPod(config *rest.Config, client kubernetes.Interface, namespace, pod string) func(context.Context, string, string, []byte) ([]byte, error) {
	return func(ctx context.Context, method, path string, body []byte) ([]byte, error) {
		request := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
			VersionedParams(&corev1.PodExecOptions{
				Container: Container, Command: []string{"/relay", "ctl", method, path}, Stdin: body != nil, Stdout: true, Stderr: true,
			}, scheme.ParameterCodec)
		executor, err := newExecutor(config, request)
		if err != nil {
			return nil, err
		}
		var out, complaint bytes.Buffer
		streams := remotecommand.StreamOptions{Stdout: &out, Stderr: &complaint}
		if body != nil {
			streams.Stdin = bytes.NewReader(body)
		}
		if err := executor.StreamWithContext(ctx, streams); err != nil {
			return nil, ctlError(err, out.Bytes(), complaint.String())
		}
		return out.Bytes(), nil
	}
}

// newExecutor speaks WebSocket, and SPDY to what is too old for it.
func newExecutor(config *rest.Config, request *rest.Request) (remotecommand.Executor, error) {
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", request.URL())
	if err != nil {
		return nil, err
	}
	socket, err := remotecommand.NewWebSocketExecutor(config, "GET", request.URL().String())
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}

// ctlError is what `relay ctl` says when it fails: the relay's answer on standard output, and the HTTP status on
// standard error, as in "relay: GET /queue/X: 404 Not Found".
func ctlError(err error, out []byte, complaint string) error {
	if len(out) > 0 {
		status := complaint[strings.LastIndex(complaint, ": ")+1:]
		return refusal(strings.TrimSpace(status), out)
	}
	if complaint != "" {
		return fmt.Errorf("%s", strings.TrimSpace(complaint))
	}
	return err
}
