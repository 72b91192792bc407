package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MailRelay is a group of relay pods that accept mail, keep it in a durable queue and deliver it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=mr,categories=mail
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether enough pods serve"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why it is ready or not"
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.replicas`,description="Pods there are"
// +kubebuilder:printcolumn:name="Available",type=integer,JSONPath=`.status.readyReplicas`,description="Pods that serve"
// +kubebuilder:printcolumn:name="Queued",type=integer,JSONPath=`.status.queue.queued`,description="Recipients in the queue"
// +kubebuilder:printcolumn:name="Oldest",type=date,JSONPath=`.status.queue.oldestMessageTime`,description="How long the oldest message has been in the queue"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Deferred",type=integer,JSONPath=`.status.queue.deferred`,priority=1,description="Recipients tried at least once"
// +kubebuilder:printcolumn:name="Draining",type=string,JSONPath=`.status.draining.step`,priority=1,description="How far the emptying of a pod is"
// +kubebuilder:printcolumn:name="PTR",type=string,JSONPath=`.status.conditions[?(@.type=="PTRVerified")].reason`,priority=1,description="Whether the egress addresses have names that lead back to them"
// +kubebuilder:printcolumn:name="TLS",type=string,JSONPath=`.status.conditions[?(@.type=="TLSReady")].status`,priority=1,description="Whether the listeners have valid certificates"
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=`.status.endpoint`,priority=1,description="Where clients connect"
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`,priority=1,description="Version of the relay pods"
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1,description="What stands in the way, and what to do"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name names the pods and Services too: use at most 40 lower case letters, digits and hyphens, beginning with a letter and ending with a letter or digit"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.endsWith('-pods')",message="metadata.name must not end in -pods, which is how the Service of a relay's pods is named: choose another name"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.drain) || !has(self.spec.drain.handoffTo) || self.spec.drain.handoffTo.name != self.metadata.name",message="spec.drain.handoffTo names the MailRelay itself, which cannot take its own mail when it is deleted: name another"
type MailRelay struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is what the relay shall be.
	// +required
	Spec MailRelaySpec `json:"spec,omitzero"`
	// status is what the relay is.
	// +default={"observedGeneration": -1}
	// +optional
	Status MailRelayStatus `json:"status,omitzero"`
}

// MailRelayList is a list of MailRelays.
// +kubebuilder:object:root=true
type MailRelayList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MailRelay `json:"items"`
}

// MailRelaySpec is what a relay shall be.
// +kubebuilder:validation:XValidation:rule="!has(self.service.externalTrafficPolicy) || self.service.type in ['LoadBalancer', 'NodePort']",fieldPath=".service.externalTrafficPolicy",message="externalTrafficPolicy is for a Service that is reached from outside: remove it, or set service.type to LoadBalancer or NodePort"
// +kubebuilder:validation:XValidation:rule="!has(self.version) || has(self.upgrade) && self.upgrade == 'Manual'",fieldPath=".version",message="version is for relays that are upgraded by hand: set upgrade to Manual, or remove version"
type MailRelaySpec struct {
	// replicas is the number of relay pods. Each has a queue of its own on a volume of its own.
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	Replicas int32 `json:"replicas,omitempty"`

	// upgrade says what becomes of the relay pods when an operator of another version comes: with Automatic they are
	// replaced one by one, a few relays of the cluster at a time; with Manual they stay as they are, and a pod that is lost
	// comes back as it was. UpgradePending then says what there is to upgrade to: set version, or upgrade to Automatic.
	// +default="Automatic"
	// +optional
	Upgrade Upgrade `json:"upgrade,omitempty"`

	// version is what the pods run with upgrade Manual: the operator's own version, which it has the image of, or another tag
	// of that image's repository. Left out, they keep what they run; a new relay begins with the operator's own. A relay
	// refuses the queue of a newer version with another layout.
	// +optional
	Version Version `json:"version,omitempty"`

	// hostname is the name that the relay gives in its greeting, EHLO, Received headers and bounces. It should
	// resolve to the egress addresses, and they to it.
	// +required
	Hostname DomainName `json:"hostname,omitempty"`

	// postmaster gets the mail for postmaster and abuse at the hostname (RFC 5321 section 4.5.1), and is the
	// sender in the From header of bounces.
	// +required
	Postmaster Address `json:"postmaster,omitempty"`

	// listeners are the ports that accept mail.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(l, self.exists_one(m, m.port == l.port))",message="two listeners have the same port: give each a port of its own"
	// +listType=map
	// +listMapKey=name
	// +required
	Listeners []Listener `json:"listeners,omitempty"`

	// access says who may relay without AUTH. By default nobody may.
	// +default={"undeclaredSenders": "Reject"}
	// +optional
	Access Access `json:"access,omitzero"`

	// allowedDomains says which SendingDomains may send through this relay. By default those of its own namespace.
	// +default={"namespaces": {"from": "Same"}}
	// +optional
	AllowedDomains AllowedDomains `json:"allowedDomains,omitzero"`

	// service shapes the Service in front of the listeners.
	// +default={"type": "ClusterIP"}
	// +optional
	Service Service `json:"service,omitzero"`

	// queue says where mail is kept, and how long and how often it is tried.
	// +required
	Queue Queue `json:"queue,omitzero"`

	// routes say where mail goes. The first that matches wins; mail that none matches goes to the MX hosts of
	// its recipients' domains.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(r, self.exists_one(s, s.name == r.name))",message="two routes have the same name: give each a name of its own"
	// +listType=atomic
	// +optional
	Routes []Route `json:"routes,omitempty"`

	// filters judge mail before it is accepted, in this order; the first that refuses it ends the matter.
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(f, self.exists_one(g, g.name == f.name))",message="two filters have the same name: give each a name of its own"
	// +listType=atomic
	// +optional
	Filters []Filter `json:"filters,omitempty"`

	// events say who is told what becomes of mail.
	// +optional
	Events Events `json:"events,omitzero"`

	// telemetry says where the relay tells what it does, besides metrics and logs.
	// +optional
	Telemetry Telemetry `json:"telemetry,omitzero"`

	// egress says how the world sees this relay.
	// +optional
	Egress Egress `json:"egress,omitzero"`

	// dns says which DNS servers the relay asks.
	// +optional
	DNS DNS `json:"dns,omitzero"`

	// drain says how a pod that goes is emptied.
	// +default={"onScaleDown": "Handoff", "onDelete": "Deliver"}
	// +optional
	Drain Drain `json:"drain,omitzero"`

	// pod adds to the relay pods.
	// +optional
	Pod Pod `json:"pod,omitzero"`

	// networkPolicy says whether the operator keeps a NetworkPolicy for the relay pods: it admits clients to the
	// listeners, the operator to the status port and any pod to the metrics port.
	// +default="Managed"
	// +optional
	NetworkPolicy NetworkPolicyMode `json:"networkPolicy,omitempty"`

	// reconciliation can be Paused: the operator then leaves the relay and its objects as they are and goes on
	// to report their status.
	// +default="Active"
	// +optional
	Reconciliation Reconciliation `json:"reconciliation,omitempty"`
}

// Upgrade says who upgrades relay pods.
// +kubebuilder:validation:Enum=Automatic;Manual
type Upgrade string

const (
	// UpgradeAutomatic has them run the operator's version.
	UpgradeAutomatic Upgrade = "Automatic"
	// UpgradeManual leaves them at theirs.
	UpgradeManual Upgrade = "Manual"
)

// Listener is a port that accepts mail.
// +kubebuilder:validation:XValidation:rule="(has(self.proxyProtocol) && self.proxyProtocol == 'Required') == has(self.proxyCIDRs)",fieldPath=".proxyCIDRs",message="proxyProtocol Required and proxyCIDRs belong together: list the addresses of the proxies, or remove both"
// +kubebuilder:validation:XValidation:rule="self.mode != 'Submission' || has(self.auth)",fieldPath=".auth",message="a Submission listener needs auth: give auth.users.secretRef, a Secret with the users, or auth.serviceAccounts"
// +kubebuilder:validation:XValidation:rule="self.mode != 'Relay' || !has(self.auth)",fieldPath=".auth",message="a Relay listener offers no AUTH: remove auth, or set mode to Submission"
// +kubebuilder:validation:XValidation:rule="self.mode != 'Submission' || has(self.tls) && self.tls.mode in ['Required', 'Implicit']",fieldPath=".tls",message="a Submission listener takes passwords: set tls.mode to Required (STARTTLS) or Implicit"
type Listener struct {
	// name is unique in the relay.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && !self.contains('--')",message="must be usable as the name of a port: lower case letters, digits and single hyphens, beginning with a letter and ending with a letter or digit"
	// +kubebuilder:validation:XValidation:rule="!(self in ['status', 'metrics', 'health'])",message="status, metrics and health are ports of the relay itself: choose another name"
	// +required
	Name string `json:"name,omitempty"`

	// port is the port of the Service. In the pod, a port below 1024 becomes port + 2000, and 25 becomes 2525.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="!(self in [525, 8081, 8443, 9090]) && (self < 2001 || self > 3023)",message="525, 2001 to 3023, 8081, 8443 and 9090 are taken inside the pod: choose another port"
	// +required
	Port int32 `json:"port,omitempty"`

	// mode is Relay for other mail servers and trusted clients, without AUTH, or Submission for clients that
	// authenticate (RFC 6409).
	// +required
	Mode ListenerMode `json:"mode,omitempty"`

	// tls is how the listener uses TLS. Left out on a Relay listener, it means mode None.
	// +optional
	TLS *ListenerTLS `json:"tls,omitempty"`

	// auth is who may authenticate on a Submission listener.
	// +optional
	Auth *ListenerAuth `json:"auth,omitempty"`

	// proxyProtocol is Required where a load balancer in front names the client in a PROXY protocol header,
	// version 1 or 2. Connections from elsewhere than proxyCIDRs, or without a valid header, are then closed, and
	// the client that the header names is the one that everything else goes by. Left out, it means Disabled.
	// +optional
	ProxyProtocol ProxyProtocol `json:"proxyProtocol,omitempty"`

	// proxyCIDRs are the addresses of the proxies whose header is believed.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	// +optional
	ProxyCIDRs []TrustedCIDR `json:"proxyCIDRs,omitempty"`

	// clientAddress says whether the Received header names the client: Record, with its name and address, or
	// Hide. Left out, it means Record. Logs name the client all the same.
	// +optional
	ClientAddress ClientAddress `json:"clientAddress,omitempty"`
}

// ProxyProtocol says whether connections begin with a PROXY protocol header.
// +kubebuilder:validation:Enum=Disabled;Required
type ProxyProtocol string

const (
	// ProxyDisabled is without a header.
	ProxyDisabled ProxyProtocol = "Disabled"
	// ProxyRequired takes only connections of the proxies, with a header.
	ProxyRequired ProxyProtocol = "Required"
)

// ClientAddress says whether the Received header names the client.
// +kubebuilder:validation:Enum=Record;Hide
type ClientAddress string

const (
	// ClientRecord names the client.
	ClientRecord ClientAddress = "Record"
	// ClientHide leaves its name and address out.
	ClientHide ClientAddress = "Hide"
)

// ListenerMode says whom a listener is for.
// +kubebuilder:validation:Enum=Relay;Submission
type ListenerMode string

const (
	// ListenerRelay is for other mail servers and trusted clients; no AUTH.
	ListenerRelay ListenerMode = "Relay"
	// ListenerSubmission is for clients that authenticate (RFC 6409).
	ListenerSubmission ListenerMode = "Submission"
)

// ListenerTLS is how a listener uses TLS.
// +kubebuilder:validation:XValidation:rule="(self.mode == 'None' ? 0 : 1) == (has(self.secretRef) ? 1 : 0) + (has(self.issuerRef) ? 1 : 0)",fieldPath=".secretRef",message="give secretRef, the name of a kubernetes.io/tls Secret, or issuerRef, not both, unless mode is None; with None remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.dnsNames) || has(self.issuerRef)",fieldPath=".dnsNames",message="dnsNames are for a certificate that is issued: give issuerRef, or remove them"
type ListenerTLS struct {
	// mode is None, Opportunistic (STARTTLS is offered), Required (STARTTLS before MAIL and AUTH) or Implicit
	// (TLS from the first octet, RFC 8314).
	// +required
	Mode ListenerTLSMode `json:"mode,omitempty"`

	// secretRef names a Secret with the keys tls.crt (the certificate chain) and tls.key, both PEM. A changed
	// Secret is in force within two minutes, without a restart.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`

	// issuerRef has cert-manager issue a certificate for the relay's hostname and keep it renewed. The operator makes a
	// Certificate, and cert-manager a Secret, both named RELAY.LISTENER-tls.
	// +optional
	IssuerRef *IssuerReference `json:"issuerRef,omitempty"`

	// dnsNames are names for the certificate besides the relay's hostname, such as that of the Service:
	// outbound.mail.svc.
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	// +optional
	DNSNames []DomainName `json:"dnsNames,omitempty"`
}

// ListenerTLSMode is how a listener uses TLS.
// +kubebuilder:validation:Enum=None;Opportunistic;Required;Implicit
type ListenerTLSMode string

const (
	// ListenerTLSNone is without TLS.
	ListenerTLSNone ListenerTLSMode = "None"
	// ListenerTLSOpportunistic offers STARTTLS.
	ListenerTLSOpportunistic ListenerTLSMode = "Opportunistic"
	// ListenerTLSRequired wants STARTTLS before MAIL and AUTH.
	ListenerTLSRequired ListenerTLSMode = "Required"
	// ListenerTLSImplicit is TLS from the first octet.
	ListenerTLSImplicit ListenerTLSMode = "Implicit"
)

// ListenerAuth is who may authenticate.
// +kubebuilder:validation:XValidation:rule="has(self.users) || has(self.serviceAccounts)",message="nobody could authenticate: give users, serviceAccounts, or both"
type ListenerAuth struct {
	// users are names with passwords.
	// +optional
	Users *Users `json:"users,omitempty"`

	// serviceAccounts lets pods authenticate with a token of their ServiceAccount, projected for the audience. It is
	// the password of AUTH PLAIN and LOGIN, with the ServiceAccount's name as the user, or the token of OAUTHBEARER
	// and XOAUTH2. An empty object takes the default audience. What a ServiceAccount may send as is said by the
	// senders of SendingDomains.
	// +optional
	ServiceAccounts *ServiceAccountAuth `json:"serviceAccounts,omitempty"`
}

// ServiceAccountAuth is how tokens of ServiceAccounts are taken.
type ServiceAccountAuth struct {
	// audience is whom tokens must be for. The default is postrider.dev/NAMESPACE/NAME of the MailRelay: a token for
	// one relay is worth nothing to another. Tokens that the API server takes, too, are refused.
	// +optional
	Audience Audience `json:"audience,omitempty"`
}

// Users are names with passwords.
type Users struct {
	// secretRef names a Secret whose key "users" holds htpasswd lines with bcrypt hashes, as `htpasswd -nB NAME`
	// prints them.
	// +required
	SecretRef SecretReference `json:"secretRef,omitzero"`
}

// Access says who may relay without AUTH.
type Access struct {
	// trustedCIDRs are the addresses of clients that may send to any recipient.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +optional
	TrustedCIDRs []TrustedCIDR `json:"trustedCIDRs,omitempty"`

	// undeclaredSenders says what trusted clients may send as: Reject holds them to the SendingDomains of the
	// relay, Accept lets them send as any domain, unsigned where there is no SendingDomain.
	// +default="Reject"
	// +optional
	UndeclaredSenders UndeclaredSenders `json:"undeclaredSenders,omitempty"`
}

// UndeclaredSenders says what trusted clients may send as.
// +kubebuilder:validation:Enum=Reject;Accept
type UndeclaredSenders string

const (
	// UndeclaredReject holds trusted clients to the SendingDomains of the relay.
	UndeclaredReject UndeclaredSenders = "Reject"
	// UndeclaredAccept lets trusted clients send as any domain.
	UndeclaredAccept UndeclaredSenders = "Accept"
)

// Queue says where mail is kept, and how long and how often it is tried.
// +kubebuilder:validation:XValidation:rule="self.delayWarningSeconds < self.maxMessageAgeSeconds",fieldPath=".delayWarningSeconds",message="the delay warning would come after the message has expired: set delayWarningSeconds below maxMessageAgeSeconds, or to 0 for none"
type Queue struct {
	// storage is the volume of each pod.
	// +required
	Storage Storage `json:"storage,omitzero"`

	// retry says how often a deferred message is tried.
	// +default={"initialSeconds": 300, "maxSeconds": 14400}
	// +optional
	Retry Retry `json:"retry,omitzero"`

	// maxMessageAgeSeconds is how long a message is tried before it fails and its sender gets a bounce. The
	// default is 5 days.
	// +default=432000
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=2592000
	// +optional
	MaxMessageAgeSeconds int32 `json:"maxMessageAgeSeconds,omitempty"`

	// delayWarningSeconds is when the sender of a message that is still being tried is told so; 0 is never. The
	// default is 4 hours.
	// +default=14400
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2592000
	// +optional
	DelayWarningSeconds *int32 `json:"delayWarningSeconds,omitempty"`

	// maxMessageBytes is the size of the largest message that is accepted, in octets (RFC 1870). The default is
	// 50 MiB.
	// +default=52428800
	// +kubebuilder:validation:Minimum=65536
	// +kubebuilder:validation:Maximum=1073741824
	// +optional
	MaxMessageBytes int64 `json:"maxMessageBytes,omitempty"`

	// bareNewline says what becomes of a message with line feeds that no carriage return precedes: Reject refuses
	// it, Normalize makes each a proper line end before the message is signed. Other bare control characters are
	// refused either way.
	// +default="Reject"
	// +optional
	BareNewline BareNewline `json:"bareNewline,omitempty"`
}

// BareNewline says what becomes of a line feed without a carriage return.
// +kubebuilder:validation:Enum=Reject;Normalize
type BareNewline string

const (
	// BareNewlineReject refuses the message.
	BareNewlineReject BareNewline = "Reject"
	// BareNewlineNormalize makes it a proper line end.
	BareNewlineNormalize BareNewline = "Normalize"
)

// Egress says how the world sees a relay.
type Egress struct {
	// addresses are the public addresses that mail leaves from. SPF is checked against them, and only their
	// address families are dialled. Nothing binds to them.
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	// +optional
	Addresses []IPAddress `json:"addresses,omitempty"`
}

// DNS says which DNS servers a relay asks.
type DNS struct {
	// resolvers are DNS servers. Left out, the relay asks those of its pod.
	// +kubebuilder:validation:MaxItems=4
	// +listType=atomic
	// +optional
	Resolvers []Resolver `json:"resolvers,omitempty"`
}

// NetworkPolicyMode says who keeps the NetworkPolicy.
// +kubebuilder:validation:Enum=Managed;Unmanaged
type NetworkPolicyMode string

const (
	// NetworkPolicyManaged is kept by the operator.
	NetworkPolicyManaged NetworkPolicyMode = "Managed"
	// NetworkPolicyUnmanaged is left to the admin.
	NetworkPolicyUnmanaged NetworkPolicyMode = "Unmanaged"
)

// Reconciliation says whether the operator acts.
// +kubebuilder:validation:Enum=Active;Paused
type Reconciliation string

const (
	// ReconciliationActive lets the operator act.
	ReconciliationActive Reconciliation = "Active"
	// ReconciliationPaused lets it only report.
	ReconciliationPaused Reconciliation = "Paused"
)
