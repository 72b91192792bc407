package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// writeConfig writes the configuration files of the daemons.
func (c *cluster) writeConfig() error {
	replace := strings.NewReplacer("{dir}", c.dir, "{socket}", c.socket(), "{pause}", pauseImage, "{pods}", podCIDR,
		"{node}", nodeIP, "{cgroup}", cgroupName, "{proxy}", c.kubeconfig("kube-proxy"))
	for name, content := range map[string]string{
		"audit.yaml":          auditPolicy,
		"containerd.toml":     containerdConfig,
		"cni/10-ptp.conflist": cniConfig,
		"kubelet.yaml":        kubeletConfig,
		"kube-proxy.yaml":     proxyConfig,
	} {
		if err := os.WriteFile(c.path("config", name), []byte(replace.Replace(content)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) startContainerd() error {
	if err := c.start(daemon{name: "containerd", argv: []string{"containerd", "--config=" + c.path("config", "containerd.toml")}}); err != nil {
		return err
	}
	if err := c.await("containerd", 30*time.Second, func() error {
		_, err := c.ctr("version")
		return err
	}); err != nil {
		return err
	}
	return c.loadPause()
}

func (c *cluster) startKubelet() error {
	if err := c.start(daemon{name: "kubelet", argv: []string{
		c.bin + "/kubelet", "--config=" + c.path("config", "kubelet.yaml"),
		"--kubeconfig=" + c.kubeconfig("kubelet"), "--root-dir=" + c.path("kubelet"), "--cert-dir=" + c.path("kubelet", "pki"),
		"--hostname-override=" + nodeName, "--node-ip=" + nodeIP,
	}}); err != nil {
		return err
	}
	return c.start(daemon{name: "kube-proxy", argv: []string{c.bin + "/kube-proxy", "--config=" + c.path("config", "kube-proxy.yaml")}})
}

func (c *cluster) awaitNode() error {
	return c.await("kubelet", 2*time.Minute, func() error {
		out, err := c.kubectl("get", "node", nodeName, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}`)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(out, "True") {
			return fmt.Errorf("node %s: Ready is %s", nodeName, out)
		}
		return nil
	})
}

// restrict_oom_score_adj: without CAP_SYS_RESOURCE, as in a container, a score cannot be lowered, and runc fails.
const containerdConfig = `version = 2
root = "{dir}/containerd"
state = "{dir}/run/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/config/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/containerd/opt"
`

// ptp routes every pod by itself: a Service's replies come back through the node, without br_netfilter and without
// hiding the client's address.
const cniConfig = `{"cniVersion": "0.4.0", "name": "postrider", "plugins": [
  {"type": "ptp", "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "{dir}/run/ipam", "ranges": [[{"subnet": "{pods}"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "{dir}/pki/ca.crt"}}
authorization: {mode: Webhook}
tlsCertFile: {dir}/pki/kubelet.crt
tlsPrivateKeyFile: {dir}/pki/kubelet.key
containerRuntimeEndpoint: unix://{socket}
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
resolvConf: ""
clusterDNS: ["{node}"]
clusterDomain: cluster.local
podLogsDir: {dir}/log/pods
volumePluginDir: {dir}/kubelet/plugins-exec
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 5s
shutdownGracePeriod: 0s
crashLoopBackOff: {maxContainerRestartPeriod: 2s}
`

const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: {pods}
clientConnection: {kubeconfig: "{proxy}"}
conntrack: {maxPerCore: 0, min: 0}
hostnameOverride: node-0
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
`
