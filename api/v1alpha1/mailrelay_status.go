package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MailRelayStatus is what a relay is.
type MailRelayStatus struct {
	// conditions are Ready, Available, QueueHealthy, ConfigCurrent, TLSReady, UpstreamReady, PTRVerified where there are egress
	// addresses, and, only while they are true, Reconciling, Stalled, Draining and Paused.
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

	// draining is the pod that is being emptied before it goes; absent when there is none. Pods go one at a time, the
	// highest number first.
	// +optional
	Draining *DrainingPod `json:"draining,omitempty"`

	// strandedVolumes are the claims that hold mail, or may, of pods that are not there, or are lost with the only node that can
	// have the volume.
	// +kubebuilder:validation:MaxItems=128
	// +listType=map
	// +listMapKey=claim
	// +optional
	StrandedVolumes []StrandedVolume `json:"strandedVolumes,omitempty"`

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

	// state is Serving, Cordoned (it delivers what it has and takes nothing new), Draining (besides, it is being emptied)
	// or Unreachable.
	// +required
	State PodState `json:"state,omitempty"`

	// queued is the number of recipients in its queue; absent while that is unknown.
	// +optional
	Queued *int64 `json:"queued,omitempty"`

	// configGeneration is the generation of the configuration that is in force in the pod; absent while that is
	// unknown.
	// +optional
	ConfigGeneration *int64 `json:"configGeneration,omitempty"`

	// version is the version that it runs; absent while that is unknown.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Version string `json:"version,omitempty"`
}

// DrainingPod is how far the emptying of a pod is.
type DrainingPod struct {
	// pod is its name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Pod string `json:"pod,omitempty"`

	// step is Cordoning (the configuration that stops new mail is on its way), HandingOff, WaitingForPeers (none of them
	// takes mail at the moment), WaitingForDelivery, Confirming (it was found empty, and is asked once more) or
	// Unreachable.
	// +required
	Step DrainStep `json:"step,omitempty"`

	// queued is the number of recipients that are left; absent while that is unknown.
	// +optional
	Queued *int64 `json:"queued,omitempty"`

	// since is when it began.
	// +required
	Since metav1.Time `json:"since,omitzero"`

	// problem is what is in the way, as the pod says.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Problem string `json:"problem,omitempty"`
}

// DrainStep is where the emptying of a pod is.
// +kubebuilder:validation:Enum=Cordoning;HandingOff;WaitingForPeers;WaitingForDelivery;Confirming;Unreachable
type DrainStep string

const (
	// StepCordoning waits until the pod takes no new mail.
	StepCordoning DrainStep = "Cordoning"
	// StepHandingOff gives its mail to the others.
	StepHandingOff DrainStep = "HandingOff"
	// StepWaitingForPeers waits for one that takes mail.
	StepWaitingForPeers DrainStep = "WaitingForPeers"
	// StepWaitingForDelivery waits until its mail is delivered.
	StepWaitingForDelivery DrainStep = "WaitingForDelivery"
	// StepConfirming asks an empty pod once more.
	StepConfirming DrainStep = "Confirming"
	// StepUnreachable waits for an answer of the pod.
	StepUnreachable DrainStep = "Unreachable"
)

// StrandedVolume is a volume claim without a pod that could deliver what it holds.
type StrandedVolume struct {
	// claim is the name of the PersistentVolumeClaim.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Claim string `json:"claim,omitempty"`

	// queued is the number of recipients that it held when its pod was last asked; absent when that is unknown.
	// +optional
	Queued *int64 `json:"queued,omitempty"`
}

// PodState says what a pod does.
// +kubebuilder:validation:Enum=Serving;Cordoned;Draining;Unreachable
type PodState string

const (
	// PodServing takes mail.
	PodServing PodState = "Serving"
	// PodCordoned takes no new mail.
	PodCordoned PodState = "Cordoned"
	// PodDraining is being emptied.
	PodDraining PodState = "Draining"
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
