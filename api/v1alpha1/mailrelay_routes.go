package v1alpha1

// Route says where mail goes.
// +kubebuilder:validation:XValidation:rule="[has(self.smartHosts), has(self.lmtp), has(self.backup), has(self.mx)].exists_one(k, k)",message="a route needs exactly one of smartHosts, lmtp, backup and mx: give one of them (mx: {} is enough)"
// +kubebuilder:validation:XValidation:rule="!has(self.lmtp) && !has(self.backup) || has(self.match) && has(self.match.recipientDomains) && self.match.recipientDomains.size() > 0",fieldPath=".match.recipientDomains",message="lmtp and backup are for certain domains: list them in match.recipientDomains"
// +kubebuilder:validation:XValidation:rule="!has(self.mx) || !has(self.verifyRecipients)",fieldPath=".verifyRecipients",message="recipients at the MX hosts of others are not verified: remove verifyRecipients"
type Route struct {
	// name is unique in the relay; logs and status show it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be lower case letters, digits and hyphens, beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`

	// match selects mail; left out or empty, it matches all.
	// +optional
	Match RouteMatch `json:"match,omitzero"`

	// smartHosts take all mail of the route. They are tried in this order. Anyone may send to the
	// match.recipientDomains of such a route.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(h, self.exists_one(i, i.host == h.host && i.port == h.port))",message="a smart host stands there twice: list each host and port once"
	// +listType=atomic
	// +optional
	SmartHosts []SmartHost `json:"smartHosts,omitempty"`

	// lmtp delivers to a mailbox server over LMTP (RFC 2033). Anyone may send to the match.recipientDomains of
	// such a route.
	// +optional
	LMTP *LMTP `json:"lmtp,omitempty"`

	// backup makes the relay the backup MX of a primary: it holds mail while the primary is down, and sends it on
	// when it is back. Anyone may send to the match.recipientDomains of such a route.
	// +optional
	Backup *Backup `json:"backup,omitempty"`

	// mx sends to the MX hosts of the recipient's domain (RFC 5321 section 5.1).
	// +optional
	MX *MX `json:"mx,omitempty"`

	// verifyRecipients says whether a recipient that a stranger names is verified before it is accepted: Probe
	// asks the next hop and keeps the answer for a while, so that what nobody can deliver is refused at once and
	// never bounced to a forged sender; None accepts all. Left out, it is Probe for lmtp and backup and None for
	// smartHosts. While the next hop cannot be asked, backup accepts and the others answer with a temporary error.
	// +optional
	VerifyRecipients VerifyRecipients `json:"verifyRecipients,omitempty"`
}

// VerifyRecipients says how recipients are verified before they are accepted.
// +kubebuilder:validation:Enum=Probe;None
type VerifyRecipients string

const (
	// VerifyProbe asks the next hop.
	VerifyProbe VerifyRecipients = "Probe"
	// VerifyNone accepts every recipient.
	VerifyNone VerifyRecipients = "None"
)

// LMTP is a mailbox server. STARTTLS is used if it is offered, and not verified.
type LMTP struct {
	// host is a name or an address. Names are resolved to addresses, not to MX hosts.
	// +required
	Host HostOrIP `json:"host,omitempty"`

	// port is the port of the host. Left out, it is 24.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`
}

// Backup makes a relay the backup MX of a primary.
type Backup struct {
	// primary is the mail server that the mail is for.
	// +required
	Primary Primary `json:"primary,omitzero"`

	// probeSeconds is how often a primary that is down is asked whether it is back. Left out, it is 30.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	// +optional
	ProbeSeconds int32 `json:"probeSeconds,omitempty"`
}

// Primary is the mail server that a backup MX holds mail for. STARTTLS is used if it is offered, and not verified.
type Primary struct {
	// host is a name or an address. Names are resolved to addresses, not to MX hosts.
	// +required
	Host HostOrIP `json:"host,omitempty"`

	// port is the port of the host. Left out, it is 25.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`
}

// RouteMatch selects mail. Of two lists, both must match.
type RouteMatch struct {
	// recipientDomains are the domains of the recipient, literally; empty for all.
	// +kubebuilder:validation:MaxItems=128
	// +listType=set
	// +optional
	RecipientDomains []DomainName `json:"recipientDomains,omitempty"`

	// senderDomains are the domains of the reverse path, literally; empty for all.
	// +kubebuilder:validation:MaxItems=128
	// +listType=set
	// +optional
	SenderDomains []DomainName `json:"senderDomains,omitempty"`
}

// SmartHost is a next hop that takes all mail of a route.
// +kubebuilder:validation:XValidation:rule="!has(self.secretRef) || !has(self.tls) || self.tls == 'Required'",fieldPath=".tls",message="a password is sent only over verified TLS: set tls to Required, with caSecretRef for a private CA, or remove secretRef"
// +kubebuilder:validation:XValidation:rule="!has(self.oauth2) || has(self.secretRef)",fieldPath=".secretRef",message="oauth2 needs secretRef: name a Secret with the keys username, client-id, and client-secret or refresh-token"
// +kubebuilder:validation:XValidation:rule="!has(self.caSecretRef) || !has(self.tls) || self.tls == 'Required'",fieldPath=".caSecretRef",message="only tls Required verifies the host: set tls to Required, or remove caSecretRef"
type SmartHost struct {
	// host is a name or an address. Names are resolved to addresses, not to MX hosts.
	// +required
	Host HostOrIP `json:"host,omitempty"`

	// port is the port of the host: 587 or 25 as a rule.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +required
	Port int32 `json:"port,omitempty"`

	// tls is None, Opportunistic (STARTTLS if offered, not verified) or Required (STARTTLS, chain and name
	// verified; mail waits otherwise). Left out, it means Required.
	// +optional
	TLS HopTLS `json:"tls,omitempty"`

	// secretRef names a Secret with the keys username and password for AUTH. With oauth2, its keys are username,
	// client-id and at least one of client-secret and refresh-token.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`

	// oauth2 authenticates with access tokens (AUTH XOAUTH2) in place of a password.
	// +optional
	OAuth2 *OAuth2 `json:"oauth2,omitempty"`

	// caSecretRef names a Secret whose key ca.crt holds the CA certificates, PEM, that the host's chain must end
	// in. Left out, those of the system hold.
	// +optional
	CASecretRef *SecretReference `json:"caSecretRef,omitempty"`
}

// OAuth2 is how access tokens are got: with the refresh token of the Secret (RFC 6749 section 6), or with the
// client's own credentials (section 4.4) when there is none.
type OAuth2 struct {
	// tokenURL is where tokens are asked for.
	// +required
	TokenURL HTTPSURL `json:"tokenURL,omitempty"`

	// scopes are asked for with the token.
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +optional
	Scopes []OAuth2Scope `json:"scopes,omitempty"`
}

// HopTLS is how TLS is used towards a next hop.
// +kubebuilder:validation:Enum=None;Opportunistic;Required
type HopTLS string

const (
	// HopTLSNone is without TLS.
	HopTLSNone HopTLS = "None"
	// HopTLSOpportunistic uses STARTTLS if it is offered, unverified.
	HopTLSOpportunistic HopTLS = "Opportunistic"
	// HopTLSRequired defers mail unless chain and name are verified.
	HopTLSRequired HopTLS = "Required"
)

// MX sends to the MX hosts of the recipient's domain.
type MX struct {
	// port is the port of the MX hosts. Left out, it is 25; another one is for tests.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`

	// allowCIDRs are the private, loopback and link-local ranges that an MX host may be in. All others of these
	// are refused, so that the DNS of a stranger cannot point the relay at the cluster's inside.
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	// +optional
	AllowCIDRs []CIDR `json:"allowCIDRs,omitempty"`
}
