package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Service shapes the Service in front of the listeners.
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerClass) || self.type == 'LoadBalancer'",fieldPath=".loadBalancerClass",message="loadBalancerClass is for a load balancer: remove it, or set type to LoadBalancer"
// +kubebuilder:validation:XValidation:rule="!has(self.sourceRanges) || self.type == 'LoadBalancer'",fieldPath=".sourceRanges",message="sourceRanges is for a load balancer: remove it, or set type to LoadBalancer"
type Service struct {
	// type is ClusterIP, NodePort or LoadBalancer.
	// +default="ClusterIP"
	// +optional
	Type ServiceType `json:"type,omitempty"`

	// externalTrafficPolicy is Local or Cluster, for a NodePort or LoadBalancer. Left out, it is Local: with
	// Cluster the relay sees the nodes' addresses in place of the clients', and access.trustedCIDRs means them.
	// +optional
	ExternalTrafficPolicy ExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`

	// annotations are put on the Service.
	// +kubebuilder:validation:MaxProperties=32
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// loadBalancerClass is the class of the load balancer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`

	// sourceRanges are the clients that the load balancer admits; empty for all.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +optional
	SourceRanges []CIDR `json:"sourceRanges,omitempty"`

	// ipFamilyPolicy is SingleStack, PreferDualStack or RequireDualStack. Left out, the cluster decides.
	// +optional
	IPFamilyPolicy IPFamilyPolicy `json:"ipFamilyPolicy,omitempty"`
}

// ServiceType is how the Service is reached.
// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
type ServiceType string

const (
	// ServiceClusterIP is reached from the cluster.
	ServiceClusterIP ServiceType = "ClusterIP"
	// ServiceNodePort is reached through the nodes.
	ServiceNodePort ServiceType = "NodePort"
	// ServiceLoadBalancer is reached through a load balancer.
	ServiceLoadBalancer ServiceType = "LoadBalancer"
)

// ExternalTrafficPolicy says whether traffic from outside keeps its source address.
// +kubebuilder:validation:Enum=Local;Cluster
type ExternalTrafficPolicy string

const (
	// ExternalTrafficLocal keeps the client's address.
	ExternalTrafficLocal ExternalTrafficPolicy = "Local"
	// ExternalTrafficCluster replaces it by a node's.
	ExternalTrafficCluster ExternalTrafficPolicy = "Cluster"
)

// IPFamilyPolicy says which IP families the Service has.
// +kubebuilder:validation:Enum=SingleStack;PreferDualStack;RequireDualStack
type IPFamilyPolicy string

// Storage is the volume of each pod. Its size may grow.
// +kubebuilder:validation:XValidation:rule="quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",fieldPath=".size",message="a volume cannot shrink: set size to what it was or more"
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",fieldPath=".storageClassName",message="the storage class of a volume cannot change: set storageClassName back to what it was, or make another MailRelay"
type Storage struct {
	// size is the size of each volume. Mail is refused with a temporary error before it is full.
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Gi')) >= 0",message="is too small for a queue: set at least 1Gi"
	// +required
	Size resource.Quantity `json:"size,omitzero"`

	// storageClassName is the class of the volumes. Left out, it is the cluster's default.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	StorageClassName *string `json:"storageClassName,omitempty"`

	// reclaim says what becomes of the volume claims when pods go or the MailRelay is deleted: with WhenDrained those
	// that are known to hold no mail are deleted, with Retain all are kept. A claim that holds mail is always kept; a
	// MailRelay made again under the same name takes it up.
	// +default="WhenDrained"
	// +optional
	Reclaim Reclaim `json:"reclaim,omitempty"`
}

// Reclaim says what becomes of empty volume claims.
// +kubebuilder:validation:Enum=WhenDrained;Retain
type Reclaim string

const (
	// ReclaimWhenDrained deletes claims known to hold no mail.
	ReclaimWhenDrained Reclaim = "WhenDrained"
	// ReclaimRetain keeps all claims.
	ReclaimRetain Reclaim = "Retain"
)

// Drain says how a pod that goes is emptied before it does.
// +kubebuilder:validation:XValidation:rule="has(self.handoffTo) == (has(self.onDelete) && self.onDelete == 'Handoff')",message="handoffTo names the MailRelay that gets the mail with onDelete: Handoff, and only then: set both, or remove handoffTo and set onDelete to Deliver or Retain"
type Drain struct {
	// onScaleDown is Handoff (what is in the queue goes to the pods that stay) or Deliver (the pod delivers it itself,
	// however long that takes).
	// +default="Handoff"
	// +optional
	OnScaleDown DrainMethod `json:"onScaleDown,omitempty"`

	// onDelete says what becomes of the mail when the MailRelay is deleted: Deliver (the pods take nothing new and stay
	// until their queues are empty), Handoff (it goes to the pods of the MailRelay in handoffTo) or Retain (the pods go at
	// once, and all volume claims are kept). It can be changed while the MailRelay is being deleted.
	// +default="Deliver"
	// +optional
	OnDelete DeleteMethod `json:"onDelete,omitempty"`

	// handoffTo is the MailRelay, in the same namespace, that gets the mail with onDelete: Handoff. It delivers by its own
	// routes and policies; what was signed stays signed.
	// +optional
	HandoffTo *LocalMailRelayReference `json:"handoffTo,omitempty"`

	// timeoutSeconds is how long the emptying of a pod may take, and that of all pods when the MailRelay is deleted.
	// +default=3600
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2592000
	// +optional
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`

	// onTimeout is Hold (the pod stays, and Draining says why) or Force (it goes; its volume claim is kept and stands in
	// status.strandedVolumes until a pod of its number takes it up again).
	// +default="Hold"
	// +optional
	OnTimeout DrainTimeout `json:"onTimeout,omitempty"`
}

// LocalMailRelayReference names a MailRelay in the same namespace.
type LocalMailRelayReference struct {
	// name is the MailRelay's.
	// +required
	Name ObjectName `json:"name,omitempty"`
}

// DeleteMethod says what becomes of the queues of a MailRelay that is deleted.
// +kubebuilder:validation:Enum=Deliver;Handoff;Retain
type DeleteMethod string

const (
	// DeleteDeliver waits until all is delivered.
	DeleteDeliver DeleteMethod = "Deliver"
	// DeleteHandoff gives it to another MailRelay.
	DeleteHandoff DeleteMethod = "Handoff"
	// DeleteRetain keeps the volumes as they are.
	DeleteRetain DeleteMethod = "Retain"
)

// DrainMethod says how a queue is emptied.
// +kubebuilder:validation:Enum=Handoff;Deliver
type DrainMethod string

const (
	// DrainHandoff gives it to the pods that stay.
	DrainHandoff DrainMethod = "Handoff"
	// DrainDeliver waits until it is delivered.
	DrainDeliver DrainMethod = "Deliver"
)

// DrainTimeout says what happens when a pod is not empty in time.
// +kubebuilder:validation:Enum=Hold;Force
type DrainTimeout string

const (
	// DrainHold keeps the pod.
	DrainHold DrainTimeout = "Hold"
	// DrainForce keeps the volume alone.
	DrainForce DrainTimeout = "Force"
)

// Retry says how often a deferred message is tried: the wait doubles each time, with jitter.
// +kubebuilder:validation:XValidation:rule="self.initialSeconds <= self.maxSeconds",message="initialSeconds is more than maxSeconds: lower the one or raise the other"
type Retry struct {
	// initialSeconds is the first wait.
	// +default=300
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	// +optional
	InitialSeconds int32 `json:"initialSeconds,omitempty"`

	// maxSeconds is the longest wait.
	// +default=14400
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	// +optional
	MaxSeconds int32 `json:"maxSeconds,omitempty"`
}

// Pod adds to the relay pods.
type Pod struct {
	// labels are put on the pods.
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('postrider.dev/') && !k.startsWith('app.kubernetes.io/'))",message="labels of postrider.dev/ and app.kubernetes.io/ are the operator's: choose other keys"
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// annotations are put on the pods.
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('postrider.dev/'))",message="annotations of postrider.dev/ are the operator's: choose other keys"
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// resources are those of the relay container. Left out, it requests 100m CPU and 128Mi memory, without
	// limits.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// nodeSelector are the labels that a node must have.
	// +kubebuilder:validation:MaxProperties=32
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// affinity says which nodes and neighbours the pods seek or shun.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// tolerations are the taints that the pods bear.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// topologySpreadConstraints replace the soft spread over nodes and zones that the pods have by default. One
	// without a labelSelector gets that of the relay's pods.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// priorityClassName is the pods' priority class.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// imagePullSecrets name the Secrets to pull the relay's image with.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	ImagePullSecrets []SecretReference `json:"imagePullSecrets,omitempty"`
}
