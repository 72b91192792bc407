package desired

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/postrider/postrider/relay/config"
)

// shape is the pod template, and what its ShapeAnnotation says: a new one, or the one that is kept. What this version would do
// otherwise than the one that made it must not restart pods; what somebody has changed in spec.pod since does.
func shape(in Input) (corev1.PodTemplateSpec, string) {
	template := podTemplate(in)
	if in.Kept == nil {
		return template, digest(template)
	}
	if in.Kept.MadeFrom == digest(in.Relay.Spec.Pod) {
		return in.Kept.Template, in.Kept.Shape
	}
	template = reshape(*in.Kept.Template.DeepCopy(), template)
	return template, digest(template)
}

// reshape gives a pod template what spec.pod rules, as it is in another.
func reshape(kept, next corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	kept.Labels, kept.Annotations = next.Labels, next.Annotations
	kept.Spec.NodeSelector, kept.Spec.Affinity, kept.Spec.Tolerations = next.Spec.NodeSelector, next.Spec.Affinity, next.Spec.Tolerations
	kept.Spec.TopologySpreadConstraints = next.Spec.TopologySpreadConstraints
	kept.Spec.PriorityClassName, kept.Spec.ImagePullSecrets = next.Spec.PriorityClassName, next.Spec.ImagePullSecrets
	for i := range kept.Spec.Containers {
		if c := &kept.Spec.Containers[i]; c.Name == ContainerName {
			c.Resources, c.Env = next.Spec.Containers[0].Resources, environmentOf(c.Env, next.Spec.Containers[0].Env)
		}
	}
	return kept
}

// environmentOf is the kept environment, but for what follows from the resources.
func environmentOf(kept, next []corev1.EnvVar) []corev1.EnvVar {
	limits := func(e corev1.EnvVar) bool { return e.Name == memoryLimit }
	env := slices.DeleteFunc(kept, limits)
	if i := slices.IndexFunc(next, limits); i >= 0 {
		env = append(env, next[i])
	}
	return env
}

// digest tells values apart. Both are plain data, which can be encoded.
func digest(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return config.Digest(data)[:16]
}
