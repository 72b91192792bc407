package v1alpha1

// Filter judges mail before it is accepted. Mail of clients that authenticated, and of trusted ones, is judged too,
// but is never looked up in a block list.
// +kubebuilder:validation:XValidation:rule="[has(self.dnsbl), has(self.rspamd), has(self.milter)].exists_one(k, k)",message="a filter needs exactly one of dnsbl, rspamd and milter: give one of them"
type Filter struct {
	// name is unique in the relay; logs show it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be lower case letters, digits and hyphens, beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`

	// dnsbl looks up where mail comes from in DNS block lists (RFC 5782).
	// +optional
	DNSBL *DNSBL `json:"dnsbl,omitempty"`

	// rspamd asks rspamd over HTTP.
	// +optional
	Rspamd *Rspamd `json:"rspamd,omitempty"`

	// milter asks a mail filter over the milter protocol (version 6).
	// +optional
	Milter *Milter `json:"milter,omitempty"`

	// timeoutSeconds is how long one answer may take. Left out, it is 10.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=60
	// +optional
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`

	// onFailure says what no answer means: Accept goes on as if the filter had found nothing, Defer answers the
	// client with a temporary error. Left out, it is Accept for dnsbl, since one list of strangers must not stop
	// all mail, and Defer for rspamd and milter, which guard what they are asked about.
	// +optional
	OnFailure FilterFailure `json:"onFailure,omitempty"`
}

// FilterFailure says what it means that a filter gives no answer.
// +kubebuilder:validation:Enum=Accept;Defer
type FilterFailure string

const (
	// FilterFailureAccept goes on.
	FilterFailureAccept FilterFailure = "Accept"
	// FilterFailureDefer answers with a temporary error.
	FilterFailureDefer FilterFailure = "Defer"
)

// DNSBL looks up clients in DNS block lists. Those that authenticated or that the relay trusts are not looked up.
type DNSBL struct {
	// zones are the lists.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +required
	Zones []DomainName `json:"zones,omitempty"`

	// action is Reject, which refuses mail of a client that is listed, or Report, which logs and counts it. Left
	// out, it means Reject.
	// +optional
	Action DNSBLAction `json:"action,omitempty"`
}

// DNSBLAction is what becomes of a client that is listed.
// +kubebuilder:validation:Enum=Reject;Report
type DNSBLAction string

const (
	// DNSBLReject refuses its mail.
	DNSBLReject DNSBLAction = "Reject"
	// DNSBLReport logs and counts it.
	DNSBLReport DNSBLAction = "Report"
)

// Rspamd asks rspamd.
type Rspamd struct {
	// url is where rspamd answers; /checkv2 is added.
	// +required
	URL WebURL `json:"url,omitempty"`

	// secretRef names a Secret whose key password is the password that rspamd asks for.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`
}

// Milter asks a mail filter.
type Milter struct {
	// host is a name or an address.
	// +required
	Host HostOrIP `json:"host,omitempty"`

	// port is the port of the host.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +required
	Port int32 `json:"port,omitempty"`
}

// Events say who is told what becomes of mail.
type Events struct {
	// webhooks are told over HTTP, as CloudEvents.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=name
	// +optional
	Webhooks []Webhook `json:"webhooks,omitempty"`
}

// Webhook is told what becomes of mail.
type Webhook struct {
	// name is unique in the relay; logs and metrics show it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be lower case letters, digits and hyphens, beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`

	// url is where events are posted to. Outside the cluster use https: events hold mail addresses. A private
	// address must be written as such, or be that of a Service (a host that ends in .svc or .cluster.local).
	// +required
	URL WebURL `json:"url,omitempty"`

	// secretRef names a Secret whose key secret holds the keys that requests are signed with (Standard Webhooks),
	// one a line: base64 after whsec_, or any other text. Left out, requests are not signed.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`

	// types are those to be told of; empty for all.
	// +kubebuilder:validation:MaxItems=5
	// +listType=set
	// +optional
	Types []EventType `json:"types,omitempty"`
}

// EventType is what happened to a recipient.
// +kubebuilder:validation:Enum=Accepted;Delivered;Deferred;Bounced;Suppressed
type EventType string

const (
	// EventAccepted was answered with 250.
	EventAccepted EventType = "Accepted"
	// EventDelivered was taken by the next hop.
	EventDelivered EventType = "Delivered"
	// EventDeferred is tried again.
	EventDeferred EventType = "Deferred"
	// EventBounced failed for good.
	EventBounced EventType = "Bounced"
	// EventSuppressed was refused or dropped by the suppression list.
	EventSuppressed EventType = "Suppressed"
)

// Telemetry says where the relay tells what it does.
type Telemetry struct {
	// traces are sent to an OpenTelemetry collector. Left out, nothing is traced.
	// +optional
	Traces *Traces `json:"traces,omitempty"`
}

// Traces are one trace for each message: its acceptance, every attempt, hand-offs between pods, and the bounces about it.
// They name domains, hosts and spool ids, and no address.
type Traces struct {
	// endpoint is the URL of a collector that takes OTLP over HTTP, such as http://otel-collector.observability.svc:4318;
	// /v1/traces is added to it.
	// +kubebuilder:validation:XValidation:rule="!self.contains('?')",message="must have no query: write http://otel-collector.observability.svc:4318"
	// +required
	Endpoint WebURL `json:"endpoint,omitempty"`

	// samplingPercent is how many of a hundred messages are traced: all pods choose the same ones.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +default=100
	// +optional
	SamplingPercent int32 `json:"samplingPercent,omitempty"`
}
