package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// writeConfig writes the configuration files of the daemons.
func (c *cluster) writeConfig() error {
	if err := os.WriteFile(c.path("config", "audit.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	return c.writeNodeConfig(first())
}

func (c *cluster) writeNodeConfig(n node) error {
	replace := strings.NewReplacer("{dir}", c.dir, "{socket}", c.socket(n), "{pause}", pauseImage, "{pods}", n.podCIDR, "{cluster}", podsCIDR,
		"{dns}", nodeIP, "{cgroup}", n.cgroup, "{proxy}", c.kubeconfig("kube-proxy"), "{n}", n.suffix, "{node}", n.name)
	if err := os.MkdirAll(c.path("config", "cni"+n.suffix), 0o711); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"containerd" + n.suffix + ".toml":     containerdConfig,
		"cni" + n.suffix + "/10-ptp.conflist": cniConfig,
		"kubelet" + n.suffix + ".yaml":        kubeletConfig,
		"kube-proxy" + n.suffix + ".yaml":     proxyConfig,
	} {
		if err := os.WriteFile(c.path("config", name), []byte(replace.Replace(content)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) startContainerd(n node) error {
	name := "containerd" + n.suffix
	if err := c.start(daemon{name: name, on: n, argv: []string{"containerd", "--config=" + c.path("config", name+".toml")}}); err != nil {
		return err
	}
	if err := c.await(name, 30*time.Second, func() error {
		_, err := c.ctr(n, "version")
		return err
	}); err != nil {
		return err
	}
	return c.loadPause(n)
}

func (c *cluster) startKubelet(n node) error {
	kubelet, proxy := "kubelet"+n.suffix, "kube-proxy"+n.suffix
	if err := c.start(daemon{name: kubelet, on: n, argv: []string{
		c.bin + "/kubelet", "--config=" + c.path("config", kubelet+".yaml"),
		"--kubeconfig=" + c.kubeconfig(kubelet), "--root-dir=" + c.path(kubelet), "--cert-dir=" + c.path(kubelet, "pki"),
		"--hostname-override=" + n.name, "--node-ip=" + n.ip,
	}}); err != nil {
		return err
	}
	return c.start(daemon{name: proxy, on: n, argv: []string{c.bin + "/kube-proxy", "--config=" + c.path("config", proxy+".yaml")}})
}

func (c *cluster) awaitNode(n node) error {
	return c.await("kubelet"+n.suffix, 2*time.Minute, func() error {
		out, err := c.kubectl("get", "node", n.name, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}`)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(out, "True") {
			return fmt.Errorf("node %s: Ready is %s", n.name, out)
		}
		return nil
	})
}

// restrict_oom_score_adj: without CAP_SYS_RESOURCE, as in a container, a score cannot be lowered, and runc fails.
const containerdConfig = `version = 2
root = "{dir}/containerd{n}"
state = "{dir}/run/containerd{n}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/config/cni{n}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/containerd{n}/opt"
`

// ptp routes every pod by itself: a Service's replies come back through the node, without br_netfilter and without
// hiding the client's address.
const cniConfig = `{"cniVersion": "0.4.0", "name": "postrider", "plugins": [
  {"type": "ptp", "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "{dir}/run/ipam{n}", "ranges": [[{"subnet": "{pods}"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "{dir}/pki/ca.crt"}}
authorization: {mode: Webhook}
tlsCertFile: {dir}/pki/kubelet{n}.crt
tlsPrivateKeyFile: {dir}/pki/kubelet{n}.key
containerRuntimeEndpoint: unix://{socket}
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
resolvConf: ""
clusterDNS: ["{dns}"]
clusterDomain: cluster.local
podLogsDir: {dir}/log/pods{n}
volumePluginDir: {dir}/kubelet{n}/plugins-exec
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 5s
shutdownGracePeriod: 0s
crashLoopBackOff: {maxContainerRestartPeriod: 2s}
`

const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: {cluster}
clientConnection: {kubeconfig: "{proxy}"}
conntrack: {maxPerCore: 0, min: 0}
hostnameOverride: {node}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
`
