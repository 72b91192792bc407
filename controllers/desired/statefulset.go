package desired

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// statefulSet runs the relay pods. Each has an identity, because it has a queue. Pods start and end in parallel,
// and the operator itself replaces outdated ones.
func statefulSet(in Input) client.Object {
	template, shape := shape(in)
	metadata := meta(in, in.Relay.Name)
	metadata.Annotations = map[string]string{PodSpecAnnotation: digest(in.Relay.Spec.Pod), ShapeAnnotation: shape}
	if in.Version != "" {
		metadata.Annotations[VersionAnnotation] = in.Version
	}
	return &appsv1.StatefulSet{
		TypeMeta:   typeMeta("apps/v1", "StatefulSet"),
		ObjectMeta: metadata,
		Spec: appsv1.StatefulSetSpec{
			Replicas:            new(in.Replicas),
			ServiceName:         PodServiceName(in.Relay.Name),
			Selector:            &metav1.LabelSelector{MatchLabels: Selector(in.Relay.Name)},
			PodManagementPolicy: appsv1.ParallelPodManagement,
			UpdateStrategy:      appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
			// A claim may hold mail: Kubernetes never deletes one by itself.
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
				WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
				WhenScaled:  appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
			},
			Template:             template,
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claimTemplate(in)},
		},
	}
}

// claimTemplate has labels of its own, by which the claims that a deleted relay leaves behind are found.
func claimTemplate(in Input) corev1.PersistentVolumeClaim {
	storage := in.Relay.Spec.Queue.Storage
	size := storage.Size
	if in.ClaimSize != nil {
		size = *in.ClaimSize
	}
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: spoolVolume, Labels: labels(in.Relay.Name)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: storage.StorageClassName,
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: size},
			},
		},
	}
}

// podTemplate holds nothing that changes with domains, listeners or policies: these reach running pods.
func podTemplate(in Input) corev1.PodTemplateSpec {
	pod := &in.Relay.Spec.Pod
	podLabels := maps.Clone(pod.Labels)
	if podLabels == nil {
		podLabels = map[string]string{}
	}
	maps.Copy(podLabels, labels(in.Relay.Name))
	podLabels[ServingLabel] = "true"
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: podLabels, Annotations: pod.Annotations},
		Spec: corev1.PodSpec{
			ServiceAccountName:            in.Relay.Name,
			AutomountServiceAccountToken:  new(false),
			EnableServiceLinks:            new(false),
			SecurityContext:               podSecurity(),
			TerminationGracePeriodSeconds: new(terminationGraceSeconds),
			Containers:                    []corev1.Container{container(in)},
			Volumes:                       volumes(in.Relay.Name),
			NodeSelector:                  pod.NodeSelector,
			Affinity:                      pod.Affinity,
			Tolerations:                   pod.Tolerations,
			TopologySpreadConstraints:     spread(in.Relay.Name, pod.TopologySpreadConstraints),
			PriorityClassName:             pod.PriorityClassName,
			ImagePullSecrets:              pullSecrets(in),
		},
	}
}

// spread is what the relay asks for, else soft over nodes and zones. A constraint without a selector counts the
// relay's pods.
func spread(relay string, asked []corev1.TopologySpreadConstraint) []corev1.TopologySpreadConstraint {
	selector := &metav1.LabelSelector{MatchLabels: Selector(relay)}
	if len(asked) == 0 {
		return []corev1.TopologySpreadConstraint{
			softly(corev1.LabelHostname, selector),
			softly(corev1.LabelTopologyZone, selector),
		}
	}
	var constraints []corev1.TopologySpreadConstraint
	for _, c := range asked {
		if c.LabelSelector == nil {
			c.LabelSelector = selector
		}
		constraints = append(constraints, c)
	}
	return constraints
}

func softly(key string, selector *metav1.LabelSelector) corev1.TopologySpreadConstraint {
	return corev1.TopologySpreadConstraint{
		MaxSkew:           1,
		TopologyKey:       key,
		WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector:     selector,
	}
}

func pullSecrets(in Input) []corev1.LocalObjectReference {
	var list []corev1.LocalObjectReference
	for _, ref := range in.Relay.Spec.Pod.ImagePullSecrets {
		list = append(list, corev1.LocalObjectReference{Name: string(ref.Name)})
	}
	return list
}
