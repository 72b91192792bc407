package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RateLimitPolicy limits how many messages and connections go through MailRelays or come from SendingDomains.
// Of several policies that apply, the strictest binds.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=rlp,categories=mail
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Stage",type=string,JSONPath=`.spec.stage`
// +kubebuilder:printcolumn:name="Key",type=string,JSONPath=`.spec.key`,description="What is counted apart"
// +kubebuilder:printcolumn:name="Limit",type=integer,JSONPath=`.spec.limits.messages`,description="Messages per period"
// +kubebuilder:printcolumn:name="Per(s)",type=integer,JSONPath=`.spec.limits.perSeconds`,description="The period in seconds"
// +kubebuilder:printcolumn:name="Conns",type=integer,JSONPath=`.spec.limits.maxConnections`,description="Connections at the same time"
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`,description="Whether it is in force in every relay pod"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1,description="What stands in the way, and what to do"
type RateLimitPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is the limit.
	// +required
	Spec RateLimitPolicySpec `json:"spec,omitzero"`
	// status says where the limit is in force.
	// +default={"observedGeneration": -1}
	// +optional
	Status RateLimitPolicyStatus `json:"status,omitzero"`
}

// RateLimitPolicyList is a list of RateLimitPolicies.
// +kubebuilder:object:root=true
type RateLimitPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RateLimitPolicy `json:"items"`
}

// RateLimitPolicySpec is a limit.
// +kubebuilder:validation:XValidation:rule="self.stage != 'Delivery' || self.key in ['Site', 'SenderDomain']",fieldPath=".key",message="stage Delivery counts per Site or SenderDomain: set key to one of them"
// +kubebuilder:validation:XValidation:rule="self.stage != 'Accept' || self.key == 'Sender'",fieldPath=".key",message="stage Accept counts per Sender: set key to Sender"
// +kubebuilder:validation:XValidation:rule="self.stage == 'Delivery' || !has(self.limits.maxConnections)",fieldPath=".limits.maxConnections",message="maxConnections limits connections to receivers: remove it, or set stage to Delivery"
// +kubebuilder:validation:XValidation:rule="self.stage == 'Delivery' || !has(self.limits.recipientsPerMessage) && !has(self.limits.messagesPerConnection)",fieldPath=".limits",message="recipientsPerMessage and messagesPerConnection shape what goes to receivers: remove them, or set stage to Delivery"
// +kubebuilder:validation:XValidation:rule="self.stage == 'Delivery' || !has(self.match) || !has(self.match.destinationDomains)",fieldPath=".match.destinationDomains",message="destinationDomains needs stage Delivery: remove it, or set stage to Delivery"
// +kubebuilder:validation:XValidation:rule="self.stage == 'Delivery' || !has(self.match) || !has(self.match.mxSuffixes)",fieldPath=".match.mxSuffixes",message="mxSuffixes needs stage Delivery: remove it, or set stage to Delivery"
type RateLimitPolicySpec struct {
	// targetRefs are what the policy applies to, in the same namespace: all mail of a MailRelay, or the mail of
	// a SendingDomain. SendingDomains in one policy share its limits; with key SenderDomain each has its own.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(r, self.exists_one(s, s.kind == r.kind && s.name == r.name))",message="a target stands there twice: list each once"
	// +listType=atomic
	// +required
	TargetRefs []TargetReference `json:"targetRefs,omitempty"`

	// stage is when the limit is held: Accept, at SMTP time, where mail over the limit is answered with a
	// temporary error; or Delivery, in the queue, where it waits.
	// +required
	Stage Stage `json:"stage,omitempty"`

	// match selects mail; left out or empty, it matches all of the targets' mail.
	// +optional
	Match PolicyMatch `json:"match,omitzero"`

	// key is what is counted apart: for stage Delivery Site (the receiving domains that share their MX hosts)
	// or SenderDomain; for stage Accept Sender (the AUTH user, else the reverse path).
	// +required
	Key LimitKey `json:"key,omitempty"`

	// limits are how much is let through for each value of the key.
	// +required
	Limits Limits `json:"limits,omitzero"`

	// scope is where the limit is counted. Pod counts in each relay pod by itself: with 3 replicas, up to three
	// times the limit goes through the relay. Relay gives each pod an equal share of messages, burst and
	// maxConnections, so that all of them together keep to the limit at any moment, also while pods come and go. Where
	// one of these is less than there are pods, the last pods have no share: they give mail that the policy holds up
	// to pods that have one, and in stage Accept they answer with a temporary error.
	// +default="Pod"
	// +optional
	Scope Scope `json:"scope,omitempty"`
}

// TargetReference names an object in the same namespace.
type TargetReference struct {
	// kind is MailRelay or SendingDomain.
	// +required
	Kind TargetKind `json:"kind,omitempty"`

	// name is the object's name.
	// +required
	Name ObjectName `json:"name,omitempty"`
}

// TargetKind is the kind of a target.
// +kubebuilder:validation:Enum=MailRelay;SendingDomain
type TargetKind string

const (
	// TargetMailRelay limits all mail of a relay.
	TargetMailRelay TargetKind = "MailRelay"
	// TargetSendingDomain limits the mail of a domain.
	TargetSendingDomain TargetKind = "SendingDomain"
)

// Stage is when a limit is held.
// +kubebuilder:validation:Enum=Accept;Delivery
type Stage string

const (
	// StageAccept is at SMTP time.
	StageAccept Stage = "Accept"
	// StageDelivery is in the queue.
	StageDelivery Stage = "Delivery"
)

// PolicyMatch selects mail.
type PolicyMatch struct {
	// destinationDomains are the domains of the recipients, literally; empty for all.
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	// +optional
	DestinationDomains []DomainName `json:"destinationDomains,omitempty"`

	// mxSuffixes are names of MX hosts of a provider: a domain matches when every one of its MX hosts is one of these
	// names, or ends in a dot and one of them. All that matches counts as one site, also where each domain has an MX
	// name of its own. With destinationDomains, a domain must match both. Empty for all.
	// +kubebuilder:validation:MaxItems=32
	// +listType=set
	// +optional
	MXSuffixes []DomainName `json:"mxSuffixes,omitempty"`
}

// LimitKey is what is counted apart.
// +kubebuilder:validation:Enum=Site;SenderDomain;Sender
type LimitKey string

const (
	// KeySite counts per set of domains that share their MX hosts.
	KeySite LimitKey = "Site"
	// KeySenderDomain counts per SendingDomain, or domain of the reverse path.
	KeySenderDomain LimitKey = "SenderDomain"
	// KeySender counts per AUTH user, else per reverse path.
	KeySender LimitKey = "Sender"
)

// Limits are how much is let through.
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="has(self.messages) || has(self.maxConnections) || has(self.recipientsPerMessage) || has(self.messagesPerConnection)",message="nothing is limited: set messages and perSeconds, maxConnections, recipientsPerMessage or messagesPerConnection"
// +kubebuilder:validation:XValidation:rule="has(self.messages) == has(self.perSeconds)",message="messages and perSeconds belong together: set both or neither"
// +kubebuilder:validation:XValidation:rule="!has(self.burst) || has(self.messages)",fieldPath=".burst",message="burst needs messages and perSeconds: set them, or remove burst"
type Limits struct {
	// messages is how many messages are let through in perSeconds.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000000
	// +optional
	Messages int32 `json:"messages,omitempty"`

	// perSeconds is the period of messages, in seconds.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	// +optional
	PerSeconds int32 `json:"perSeconds,omitempty"`

	// burst is how many messages may go at once after a pause. Left out, it is as many as one second lets
	// through, at least 1, in stage Delivery, and all of messages in stage Accept.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000000
	// +optional
	Burst int32 `json:"burst,omitempty"`

	// maxConnections is how many connections may be open at the same time.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +optional
	MaxConnections int32 `json:"maxConnections,omitempty"`

	// recipientsPerMessage is how many recipients a message may have in one transaction with a receiver; more are
	// sent in several. Without any policy it is 100.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	RecipientsPerMessage int32 `json:"recipientsPerMessage,omitempty"`

	// messagesPerConnection is how many messages go over a connection before it is closed. Without any policy it
	// is 100.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	// +optional
	MessagesPerConnection int32 `json:"messagesPerConnection,omitempty"`
}

// Scope is where a limit is counted.
// +kubebuilder:validation:Enum=Pod;Relay
type Scope string

const (
	// ScopePod counts in each relay pod by itself.
	ScopePod Scope = "Pod"
	// ScopeRelay divides the limit among the relay's pods.
	ScopeRelay Scope = "Relay"
)

// RateLimitPolicyStatus says where a limit is in force.
type RateLimitPolicyStatus struct {
	// conditions are Ready, Accepted, Programmed, and, only while they are true, Reconciling and Stalled.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the metadata.generation that this status is about; -1 before there is any status.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// targets are the targetRefs, in their order.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Targets []TargetStatus `json:"targets,omitempty"`
}

// TargetStatus says whether the policy applies to a target.
type TargetStatus struct {
	// ref is the target.
	// +required
	Ref TargetReference `json:"ref,omitzero"`

	// accepted says whether the policy applies to the target.
	// +required
	Accepted bool `json:"accepted"`

	// effective are the limits that hold, with what the policy leaves out filled in: for each pod with scope Pod, for
	// all pods together with scope Relay, where they are less than the limits while shares move from pod to pod;
	// absent unless accepted.
	// +optional
	Effective *Limits `json:"effective,omitempty"`

	// message says why the policy is not accepted, and what to do.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Message string `json:"message,omitempty"`
}
