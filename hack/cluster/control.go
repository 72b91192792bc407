package main

import "time"

// The control plane. Everything listens inside the namespace; etcd speaks plain HTTP on loopback there.

// startEtcd does not wait: the API server asks until there is an answer.
func (c *cluster) startEtcd() error {
	return c.start(daemon{name: "etcd", argv: []string{
		c.bin + "/etcd", "--data-dir=" + c.path("etcd"),
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level=warn",
	}})
}

func (c *cluster) startAPIServer() error {
	pki := c.path("pki") + "/"
	err := c.start(daemon{name: "kube-apiserver", argv: []string{
		c.bin + "/kube-apiserver",
		"--etcd-servers=http://127.0.0.1:2379",
		"--advertise-address=" + nodeIP, "--secure-port=" + apiPort,
		"--tls-cert-file=" + pki + "apiserver.crt", "--tls-private-key-file=" + pki + "apiserver.key",
		"--client-ca-file=" + pki + "ca.crt",
		"--kubelet-certificate-authority=" + pki + "ca.crt",
		"--kubelet-client-certificate=" + pki + "apiserver-client.crt", "--kubelet-client-key=" + pki + "apiserver-client.key",
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + pki + "service-accounts.key", "--service-account-signing-key-file=" + pki + "service-accounts.key",
		"--service-cluster-ip-range=" + serviceCIDR,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--audit-policy-file=" + c.path("config", "audit.yaml"), "--audit-log-path=" + c.path("log", "audit.json"),
		"--audit-log-mode=blocking",
	}})
	if err != nil {
		return err
	}
	return c.await("kube-apiserver", 2*time.Minute, func() error {
		_, err := c.kubectl("get", "--raw=/readyz")
		return err
	})
}

func (c *cluster) startControllers() error {
	pki := c.path("pki") + "/"
	manager, scheduler := c.kubeconfig("controller-manager"), c.kubeconfig("scheduler")
	if err := c.start(daemon{name: "kube-controller-manager", argv: []string{
		c.bin + "/kube-controller-manager",
		"--kubeconfig=" + manager, "--authentication-kubeconfig=" + manager, "--authorization-kubeconfig=" + manager,
		"--root-ca-file=" + pki + "ca.crt", "--service-account-private-key-file=" + pki + "service-accounts.key",
		"--use-service-account-credentials=true", "--leader-elect=false", "--bind-address=127.0.0.1",
		"--flex-volume-plugin-dir=" + c.path("kubelet", "plugins-exec"),
	}}); err != nil {
		return err
	}
	return c.start(daemon{name: "kube-scheduler", argv: []string{
		c.bin + "/kube-scheduler",
		"--kubeconfig=" + scheduler, "--authentication-kubeconfig=" + scheduler, "--authorization-kubeconfig=" + scheduler,
		"--leader-elect=false", "--bind-address=127.0.0.1",
	}})
}

// auditPolicy records who writes what, so that a test can count writes.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: None
  resources: [{group: coordination.k8s.io, resources: [leases]}, {group: "", resources: [events]}, {group: events.k8s.io, resources: [events]}]
- level: Metadata
`
