package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MailRelayStatus is what a relay is.
type MailRelayStatus struct {
	// conditions are Ready, Available, QueueHealthy, ConfigCurrent, TLSReady, UpstreamReady, and, only while
	// they are true, Reconciling, Stalled and Paused.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the metadata.generation that this status is about; -1 before there is any status.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// selector selects the relay's pods, for the scale subresource.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Selector string `json:"selector,omitempty"`

	// replicas is the number of pods there are.
	// +optional
	Replicas int32 `json:"replicas"`

	// readyReplicas is the number of pods that serve.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`

	// updatedReplicas is the number of pods that run the latest version and shape.
	// +optional
	UpdatedReplicas int32 `json:"updatedReplicas"`

	// version is the version that the pods run; while they run several, the oldest.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Version string `json:"version,omitempty"`

	// endpoint is where clients connect: the load balancer's address, or the Service's name in the cluster.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Endpoint string `json:"endpoint,omitempty"`

	// queue is the sum over all pods. It is absent while a pod's queue is unknown.
	// +optional
	Queue *QueueStatus `json:"queue,omitempty"`

	// pods is each pod as it was last seen.
	// +kubebuilder:validation:MaxItems=128
	// +listType=map
	// +listMapKey=name
	// +optional
	Pods []PodStatus `json:"pods,omitempty"`

	// slowest are up to ten destinations whose mail has waited longest, and why it waits.
	// +kubebuilder:validation:MaxItems=10
	// +listType=map
	// +listMapKey=domain
	// +optional
	Slowest []SlowDestination `json:"slowest,omitempty"`
}

// QueueStatus counts recipients, not messages.
type QueueStatus struct {
	// queued is all of them: waiting, deferred and held.
	// +required
	Queued int64 `json:"queued"`

	// deferred have been tried at least once.
	// +required
	Deferred int64 `json:"deferred"`

	// held are kept back by an admin.
	// +required
	Held int64 `json:"held"`

	// oldestMessageTime is when the oldest message in the queue was accepted; absent when the queue is empty.
	// +optional
	OldestMessageTime *metav1.Time `json:"oldestMessageTime,omitempty"`
}

// PodStatus is a pod as it was last seen.
type PodStatus struct {
	// name is the pod's name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`

	// state is Serving, Cordoned (it delivers what it has and takes nothing new) or Unreachable.
	// +required
	State PodState `json:"state,omitempty"`

	// queued is the number of recipients in its queue; absent while that is unknown.
	// +optional
	Queued *int64 `json:"queued,omitempty"`

	// configGeneration is the generation of the configuration that is in force in the pod; absent while that is
	// unknown.
	// +optional
	ConfigGeneration *int64 `json:"configGeneration,omitempty"`
}

// PodState says what a pod does.
// +kubebuilder:validation:Enum=Serving;Cordoned;Unreachable
type PodState string

const (
	// PodServing takes mail.
	PodServing PodState = "Serving"
	// PodCordoned takes no new mail.
	PodCordoned PodState = "Cordoned"
	// PodUnreachable does not answer the operator.
	PodUnreachable PodState = "Unreachable"
)

// SlowDestination says why mail for a domain waits.
type SlowDestination struct {
	// domain is the domain of the recipients.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +required
	Domain string `json:"domain,omitempty"`

	// queued is the number of recipients that wait.
	// +required
	Queued int64 `json:"queued"`

	// oldestMessageTime is when the oldest of these messages was accepted.
	// +optional
	OldestMessageTime *metav1.Time `json:"oldestMessageTime,omitempty"`

	// reason is Ready, InFlight, Deferred, RateLimited, Held, LookupFailed, Suspended or NextHopDown.
	// +kubebuilder:validation:MaxLength=64
	// +required
	Reason string `json:"reason,omitempty"`

	// since is when that reason began to hold.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`

	// reply is the last reply of the receiver, cut short if it is long.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Reply string `json:"reply,omitempty"`
}
