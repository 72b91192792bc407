package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SendingDomain is a domain that may send through a MailRelay: who may use it, its DKIM keys, and the DNS
// records it needs.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=sd,categories=mail
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Domain",type=string,JSONPath=`.spec.domain`
// +kubebuilder:printcolumn:name="Relay",type=string,JSONPath=`.spec.relayRef.name`,description="The MailRelay it sends through"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether it is accepted and its DNS gates pass"
// +kubebuilder:printcolumn:name="SPF",type=string,JSONPath=`.status.conditions[?(@.type=="SPFVerified")].reason`
// +kubebuilder:printcolumn:name="DKIM",type=string,JSONPath=`.status.conditions[?(@.type=="DKIMVerified")].reason`
// +kubebuilder:printcolumn:name="DMARC",type=string,JSONPath=`.status.conditions[?(@.type=="DMARCVerified")].reason`
// +kubebuilder:printcolumn:name="MX",type=string,JSONPath=`.status.conditions[?(@.type=="MXVerified")].reason`
// +kubebuilder:printcolumn:name="Selector",type=string,JSONPath=`.status.dkim.activeSelector`,description="The DKIM selector that signs"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1,description="What stands in the way, and what to do"
type SendingDomain struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is what the domain shall be.
	// +required
	Spec SendingDomainSpec `json:"spec,omitzero"`
	// status is what the domain is.
	// +default={"observedGeneration": -1}
	// +optional
	Status SendingDomainStatus `json:"status,omitzero"`
}

// SendingDomainList is a list of SendingDomains.
// +kubebuilder:object:root=true
type SendingDomainList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SendingDomain `json:"items"`
}

// SendingDomainSpec is what a sending domain shall be.
type SendingDomainSpec struct {
	// domain is the domain in the From header and the reverse path. It cannot change.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot change: make another SendingDomain for the other domain"
	// +required
	Domain DomainName `json:"domain,omitempty"`

	// relayRef names the MailRelay that the domain sends through. It can change: the keys are kept.
	// +required
	RelayRef RelayReference `json:"relayRef,omitzero"`

	// senders are who may send as the domain, besides the clients that the relay trusts. Left out, they are all
	// ServiceAccounts of this namespace; an empty list is nobody.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:XValidation:rule="self.all(s, self.exists_one(t, t == s))",message="a sender stands there twice: list each once"
	// +listType=atomic
	// +optional
	Senders []Sender `json:"senders,omitzero"` //nolint:kubeapilinter // a rule of Sender requires one of its fields

	// dkim says how mail of the domain is signed (RFC 6376).
	// +default={"signing": "Enabled", "algorithms": ["RSA2048", "Ed25519"]}
	// +optional
	DKIM DKIM `json:"dkim,omitzero"`

	// dns says how the domain's DNS records are checked.
	// +default={"gates": ["DKIM"], "recheckSeconds": 3600}
	// +optional
	DNS DomainDNS `json:"dns,omitzero"`

	// suppression keeps the domain's mail from recipients that failed for good lately. Left out, every message is
	// tried.
	// +optional
	Suppression *Suppression `json:"suppression,omitempty"`

	// weight is the domain's share of what goes to a receiver while mail of several domains waits for it: one with 20
	// sends twice as much as one with 10, and half as much goes from one with 5.
	// +default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	Weight int32 `json:"weight,omitempty"`

	// priorities give the domain's mail a priority by its header, where the client gave none with MT-PRIORITY
	// (RFC 6710). The first rule that matches counts; mail that none matches has priority 0. Mail of a higher priority
	// goes before other mail of the same domain, never before that of others.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Priorities []PriorityRule `json:"priorities,omitempty"`
}

// PriorityRule gives mail a priority by a header field.
type PriorityRule struct {
	// header is the name of the field, in any case.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[!-9;-~]+$`
	// +required
	Header string `json:"header,omitempty"`

	// values are what the field may hold, in any case; "*" in one stands for anything. Left out, the field need only
	// be there.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^[ -~]+$`
	// +listType=set
	// +optional
	Values []string `json:"values,omitempty"`

	// priority is -9 to 9: above 0 is urgent, below 0 is bulk.
	// +kubebuilder:validation:Minimum=-9
	// +kubebuilder:validation:Maximum=9
	// +required
	Priority *int32 `json:"priority,omitempty"`
}

// Suppression keeps mail from recipients that failed for good lately.
type Suppression struct {
	// action is Reject, which refuses such a recipient, or Drop, which accepts and discards what is for it.
	// +required
	Action SuppressionAction `json:"action,omitempty"`

	// seconds is how long a recipient is suppressed after it failed. The default is 30 days.
	// +default=2592000
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=31536000
	// +optional
	Seconds int32 `json:"seconds,omitempty"`
}

// SuppressionAction is what becomes of mail for a suppressed recipient.
// +kubebuilder:validation:Enum=Reject;Drop
type SuppressionAction string

const (
	// SuppressionReject refuses the recipient.
	SuppressionReject SuppressionAction = "Reject"
	// SuppressionDrop accepts the mail and discards it.
	SuppressionDrop SuppressionAction = "Drop"
)

// RelayReference names a MailRelay.
type RelayReference struct {
	// namespace is the MailRelay's. Left out, it is the SendingDomain's. A relay elsewhere must admit this namespace by
	// its allowedDomains.
	// +optional
	Namespace NamespaceName `json:"namespace,omitempty"`

	// name is the MailRelay's name.
	// +required
	Name ObjectName `json:"name,omitempty"`
}

// Sender is who may send as a domain.
// +kubebuilder:validation:XValidation:rule="has(self.user) != has(self.serviceAccount)",message="give one of user and serviceAccount"
type Sender struct {
	// user is the name of an AUTH user of the relay.
	// +optional
	User Username `json:"user,omitempty"`

	// serviceAccount is one whose pods send with its token, where a listener of the relay takes tokens.
	// +optional
	ServiceAccount *ServiceAccountReference `json:"serviceAccount,omitempty"`
}

// ServiceAccountReference names a ServiceAccount.
type ServiceAccountReference struct {
	// namespace is the ServiceAccount's. Left out, it is the SendingDomain's.
	// +optional
	Namespace NamespaceName `json:"namespace,omitempty"`

	// name is the ServiceAccount's name.
	// +required
	Name ObjectName `json:"name,omitempty"`
}

// DKIM says how mail of a domain is signed.
type DKIM struct {
	// signing is Enabled, or Disabled when somebody else signs, such as a smart host. With Enabled, mail of the
	// domain is never sent unsigned.
	// +default="Enabled"
	// +optional
	Signing Signing `json:"signing,omitempty"`

	// algorithms are those of the keys that the operator makes: RSA2048 (RFC 6376), Ed25519 (RFC 8463). Each
	// message gets one signature per algorithm.
	// +default=["RSA2048", "Ed25519"]
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +listType=set
	// +optional
	Algorithms []DKIMAlgorithm `json:"algorithms,omitempty"`
}

// Signing says whether mail is signed.
// +kubebuilder:validation:Enum=Enabled;Disabled
type Signing string

const (
	// SigningEnabled signs all mail of the domain.
	SigningEnabled Signing = "Enabled"
	// SigningDisabled signs none.
	SigningDisabled Signing = "Disabled"
)

// DKIMAlgorithm is the algorithm of a key.
// +kubebuilder:validation:Enum=RSA2048;Ed25519
type DKIMAlgorithm string

const (
	// RSA2048 is rsa-sha256 with 2048 bits.
	RSA2048 DKIMAlgorithm = "RSA2048"
	// Ed25519 is ed25519-sha256 (RFC 8463).
	Ed25519 DKIMAlgorithm = "Ed25519"
)

// DomainDNS says how a domain's DNS records are checked.
type DomainDNS struct {
	// gates are the checks that must pass before mail of the domain is accepted; until then it is answered with
	// a temporary error. [DKIM] waits until the public keys are published. An empty list signs at once with the
	// newest keys: for trying, or where the relay sees another DNS than the world.
	// +default=["DKIM"]
	// +kubebuilder:validation:MaxItems=1
	// +listType=set
	// +optional
	Gates []DNSGate `json:"gates,omitzero"`

	// recheckSeconds is how often the records are looked up again once they pass. Records that don't pass are
	// looked up more often.
	// +default=3600
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=86400
	// +optional
	RecheckSeconds int32 `json:"recheckSeconds,omitempty"`
}

// DNSGate is a check that must pass before mail is accepted.
// +kubebuilder:validation:Enum=DKIM
type DNSGate string

// GateDKIM waits until the public keys are published.
const GateDKIM DNSGate = "DKIM"

// SendingDomainStatus is what a sending domain is.
type SendingDomainStatus struct {
	// conditions are Ready, Accepted, DKIMKeyReady, SPFVerified, DKIMVerified, DMARCVerified, MXVerified, and,
	// only while they are true, Reconciling and Stalled.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the metadata.generation that this status is about; -1 before there is any status.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// dkim is which keys sign.
	// +optional
	DKIM DKIMStatus `json:"dkim,omitzero"`

	// records are the DNS records that the domain needs, with what DNS holds.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Records []DNSRecord `json:"records,omitempty"`
}

// DKIMStatus is which keys sign. With several algorithms, each has a selector of its own; the first algorithm's
// stands here, and records names all.
type DKIMStatus struct {
	// activeSelector is the one that signs.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	ActiveSelector string `json:"activeSelector,omitempty"`

	// pendingSelector is the one that waits for its records to be published.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	PendingSelector string `json:"pendingSelector,omitempty"`
}

// DNSRecord is a DNS record that a domain needs, with what DNS holds.
type DNSRecord struct {
	// purpose is SPF, DKIM, DMARC or MX.
	// +required
	Purpose RecordPurpose `json:"purpose,omitempty"`

	// name is the record's owner name, without a dot at the end.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name,omitempty"`

	// type is TXT or MX.
	// +kubebuilder:validation:Enum=TXT;MX
	// +required
	Type string `json:"type,omitempty"`

	// expected are the values to publish. TXT values are whole: split them at 255 octets for a zone file.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=1024
	// +listType=atomic
	// +optional
	Expected []string `json:"expected,omitempty"`

	// observed are the values that DNS holds, cut short if they are long.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=1024
	// +listType=atomic
	// +optional
	Observed []string `json:"observed,omitempty"`

	// result is Pass, Missing, Mismatch, Weak, LookupFailed or NotRequired.
	// +required
	Result RecordResult `json:"result,omitempty"`

	// message says in a sentence what to change.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Message string `json:"message,omitempty"`

	// lastChecked is when the result was last found to differ from the one before.
	// +optional
	LastChecked *metav1.Time `json:"lastChecked,omitempty"`
}

// RecordPurpose is what a record is for.
// +kubebuilder:validation:Enum=SPF;DKIM;DMARC;MX
type RecordPurpose string

const (
	// PurposeSPF says which hosts may send (RFC 7208).
	PurposeSPF RecordPurpose = "SPF"
	// PurposeDKIM is a public key (RFC 6376).
	PurposeDKIM RecordPurpose = "DKIM"
	// PurposeDMARC is the domain's policy (RFC 7489).
	PurposeDMARC RecordPurpose = "DMARC"
	// PurposeMX says where bounces can go (RFC 5321).
	PurposeMX RecordPurpose = "MX"
)

// RecordResult is the verdict on a record.
// +kubebuilder:validation:Enum=Pass;Missing;Mismatch;Weak;LookupFailed;NotRequired
type RecordResult string

const (
	// ResultPass is as it should be.
	ResultPass RecordResult = "Pass"
	// ResultMissing says that there is none.
	ResultMissing RecordResult = "Missing"
	// ResultMismatch says that there is another.
	ResultMismatch RecordResult = "Mismatch"
	// ResultWeak works, but protects little.
	ResultWeak RecordResult = "Weak"
	// ResultLookupFailed says that DNS gave no answer.
	ResultLookupFailed RecordResult = "LookupFailed"
	// ResultNotRequired says that none is needed.
	ResultNotRequired RecordResult = "NotRequired"
)
