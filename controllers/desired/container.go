package desired

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay/config"
)

// ContainerName is the name of the relay in its pod.
const ContainerName = "relay"

// Volumes of a relay pod, and where they are mounted.
const (
	configVolume = "config"
	configPath   = "/etc/postrider"
	spoolVolume  = "spool"
	spoolPath    = "/var/spool/postrider"
	runVolume    = "run"
	runPath      = "/run/postrider"
)

const (
	// user is the numeric user and group of the relay: the one that images without a base call nonroot.
	user = int64(65532)
	// What has not ended then stays in the queue.
	terminationGraceSeconds = int64(config.TerminationSeconds)
	// readable by the relay's group (fsGroup), not by others.
	configMode = int32(0o440)
)

// container is the relay. Its listeners are not among the ports, so that another listener restarts nothing.
func container(in Input) corev1.Container {
	return corev1.Container{
		Name:    ContainerName,
		Image:   in.Image,
		Command: []string{"/relay", "serve"},
		Args: []string{
			"--config-dir=" + configPath, "--data-dir=" + spoolPath, "--admin-socket=" + runPath + "/admin.sock",
			fmt.Sprintf("--endpoint-drain=%ds", config.EndpointSeconds),
		},
		Env: environment(in.Relay.Spec.Pod.Resources),
		Ports: []corev1.ContainerPort{
			{Name: "status", ContainerPort: render.StatusPort, Protocol: corev1.ProtocolTCP},
			{Name: "metrics", ContainerPort: render.MetricsPort, Protocol: corev1.ProtocolTCP},
			{Name: "health", ContainerPort: render.HealthPort, Protocol: corev1.ProtocolTCP},
		},
		Resources: resources(in.Relay.Spec.Pod.Resources),
		// Opening a large spool takes a while: ten minutes until the kubelet starts it again.
		StartupProbe:    probe("/healthz", 2, 300),
		LivenessProbe:   probe("/healthz", 10, 6),
		ReadinessProbe:  probe("/readyz", 5, 2),
		SecurityContext: containerSecurity(),
		VolumeMounts: []corev1.VolumeMount{
			{Name: configVolume, MountPath: configPath, ReadOnly: true},
			{Name: spoolVolume, MountPath: spoolPath},
			{Name: runVolume, MountPath: runPath},
		},
	}
}

func resources(asked *corev1.ResourceRequirements) corev1.ResourceRequirements {
	if asked != nil {
		return *asked
	}
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("100m"),
		corev1.ResourceMemory: resource.MustParse("128Mi"),
	}}
}

// memoryLimit is the variable by which the Go runtime knows how much memory there is.
const memoryLimit = "GOMEMLIMIT"

// environment tells a relay which pod it is, other than those of its name before, and the Go runtime of a memory limit,
// less a tenth for what it doesn't count, so that it collects garbage before the kernel kills.
func environment(asked *corev1.ResourceRequirements) []corev1.EnvVar {
	uid := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.uid"}}
	list := []corev1.EnvVar{{Name: "POD_UID", ValueFrom: uid}}
	if asked == nil || asked.Limits.Memory().IsZero() {
		return list
	}
	limit := asked.Limits.Memory().Value()
	return append(list, corev1.EnvVar{Name: memoryLimit, Value: strconv.FormatInt(limit-limit/10, 10)})
}

func probe(path string, periodSeconds, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(render.HealthPort)},
		},
		PeriodSeconds:    periodSeconds,
		TimeoutSeconds:   5,
		FailureThreshold: failures,
	}
}

// podSecurity and containerSecurity are what the "restricted" pod security standard asks for, and more.
func podSecurity() *corev1.PodSecurityContext {
	return &corev1.PodSecurityContext{
		RunAsNonRoot: new(true),
		RunAsUser:    new(user),
		RunAsGroup:   new(user),
		FSGroup:      new(user),
		// A spool has many files: walk them only when the volume is new.
		FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch),
		SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func containerSecurity() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		ReadOnlyRootFilesystem:   new(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

func volumes(relay string) []corev1.Volume {
	return []corev1.Volume{
		{Name: configVolume, VolumeSource: corev1.VolumeSource{Projected: configSources(relay)}},
		{Name: runVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
}

// configSources name every object that may ever hold a part of the configuration, all optional: one that comes
// or goes reaches a running pod.
func configSources(relay string) *corev1.ProjectedVolumeSource {
	sources := []corev1.VolumeProjection{configMapSource(configName(relay)), secretSource(MaterialName(relay))}
	for shard := range config.DomainShards {
		sources = append(sources, configMapSource(domainsName(relay, shard)))
	}
	for shard := range render.KeyShards {
		sources = append(sources, secretSource(keysName(relay, shard)))
	}
	return &corev1.ProjectedVolumeSource{Sources: sources, DefaultMode: new(configMode)}
}

func configMapSource(name string) corev1.VolumeProjection {
	return corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: name},
		Optional:             new(true),
	}}
}

func secretSource(name string) corev1.VolumeProjection {
	return corev1.VolumeProjection{Secret: &corev1.SecretProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: name},
		Optional:             new(true),
	}}
}
