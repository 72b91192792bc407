package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/postrider/postrider/controllers/operator"
	"github.com/postrider/postrider/test/kubetest"
)

const (
	// ownNamespace and account are the operator's.
	ownNamespace = "postrider-system"
	account      = "postrider-manager"
)

// auditPolicy has what the operator asks for written down, but for watches and its lease.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, resources: [{group: coordination.k8s.io, resources: [leases]}]}
- {level: Metadata, users: ["system:serviceaccount:` + ownNamespace + ":" + account + `"], verbs: [create, update, patch, delete, deletecollection, get, list]}
- {level: None}
`

// cluster is an API server with its etcd and the controller of StatefulSets.
type cluster struct {
	dir    string
	env    *envtest.Environment
	config *rest.Config
	scheme *runtime.Scheme
	client client.Client
	// controllers is kube-controller-manager.
	controllers *exec.Cmd
}

func startCluster(dir string) (c *cluster, err error) {
	c = &cluster{dir: dir}
	if err := os.WriteFile(c.file("audit.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return nil, err
	}
	binaries, err := kubetest.Binaries(".")
	if err != nil {
		return nil, err
	}
	c.env = &envtest.Environment{
		BinaryAssetsDirectory: binaries,
		CRDDirectoryPaths:     []string{filepath.Join("config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	c.env.ControlPlane.GetAPIServer().Configure().
		Append("audit-policy-file", c.file("audit.yaml")).Append("audit-log-path", c.auditLog()).
		Append("audit-log-maxsize", "10000").            // in MiB: it is read as one file
		Set("service-cluster-ip-range", "10.96.0.0/12"). // an address for each relay
		Append("max-requests-inflight", "800").Append("max-mutating-requests-inflight", "400")
	if c.config, err = c.env.Start(); err != nil {
		return nil, fmt.Errorf("starting kube-apiserver from %s: %w", binaries, err)
	}
	c.config.QPS = -1
	return c, errors.Join(c.connect(), c.startControllers(binaries))
}

func (c *cluster) connect() (err error) {
	if c.scheme, err = operator.Scheme(); err != nil {
		return err
	}
	c.client, err = client.New(c.config, client.Options{Scheme: c.scheme})
	return err
}

// startControllers runs as many workers as a cluster of this size would have.
func (c *cluster) startControllers(binaries string) error {
	file := c.file("admin.kubeconfig")
	if err := os.WriteFile(file, c.env.KubeConfig, 0o600); err != nil {
		return err
	}
	c.controllers = exec.Command(filepath.Join(binaries, "kube-controller-manager"), "--kubeconfig="+file, "--leader-elect=false", "--secure-port=0",
		"--controllers=statefulset-controller", "--concurrent-statefulset-syncs=20", "--kube-api-qps=1000", "--kube-api-burst=1000")
	return c.controllers.Start()
}

// install applies what config/default holds for the operator, and returns a kubeconfig of its ServiceAccount.
func (c *cluster) install(ctx context.Context) (string, error) {
	for _, file := range []string{"manager/namespace.yaml", "rbac/service_account.yaml", "rbac/role.yaml", "rbac/role_binding.yaml", "rbac/cluster_role.yaml", "rbac/namespace_role.yaml"} {
		if out, err := c.kubectl(ctx, "apply", "-f", filepath.Join("config", file)); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", file, err, out)
		}
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(8 * 3600))}}
	holder := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: account}}
	if err := c.client.SubResource("token").Create(ctx, holder, request); err != nil {
		return "", fmt.Errorf("a token for the operator: %w", err)
	}
	file := c.file("operator.kubeconfig")
	return file, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"bench": {Server: c.config.Host, CertificateAuthorityData: c.config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"operator": {Token: request.Status.Token}},
		Contexts:       map[string]*clientcmdapi.Context{"bench": {Cluster: "bench", AuthInfo: "operator"}},
		CurrentContext: "bench",
	}, file)
}

func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.env.BinaryAssetsDirectory, "kubectl"), append([]string{"--kubeconfig=" + c.file("admin.kubeconfig")}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }
func (c *cluster) auditLog() string        { return c.file("audit.log") }

func (c *cluster) stop() error {
	_ = c.controllers.Process.Kill()
	_ = c.controllers.Wait() // it says that it was killed
	return c.env.Stop()
}
