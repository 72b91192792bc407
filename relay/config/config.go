// Package config is everything a relay is told: intent, from the operator to the relay. Plain structs,
// standard library only. It names files, never secrets.
//
// A configuration is a directory of flat files. Index lists them with their digests; a set is complete when
// every file of the index is there with the digest that stands there. See Load.
//
// Operator and relay may be of different versions. A field that comes later bears the number of the format that brings it;
// For leaves it out for relays that do not know it. See docs/upgrades.md for what a new field has to hold to.
package config

import "encoding/json"

// File names in a configuration directory. Names are flat because Kubernetes volumes are.
const (
	IndexFile = "index.json"
	RelayFile = "relay.json"
	// DomainsFile is a shard of the domains: fmt.Sprintf(DomainsFile, shard), 0 ≤ shard < DomainShards.
	DomainsFile  = "domains-%02d.json"
	DomainShards = 16
	// AccountsFile is a shard of the Accounts: fmt.Sprintf(AccountsFile, shard), 0 ≤ shard < DomainShards.
	AccountsFile = "accounts-%02d.json"
)

// Index lists the files of a complete configuration.
type Index struct {
	Format int `json:"format"`
	// Generation grows by one with each configuration that differs from the one before.
	Generation int64 `json:"generation"`
	// Files maps each file's name to the hex SHA-256 of its contents.
	Files map[string]string `json:"files"`
}

// Config is a complete configuration.
type Config struct {
	Generation int64    `json:"generation"`
	Relay      Relay    `json:"relay"`
	Domains    []Domain `json:"domains"`
	// Accounts are the users who may show a token in place of a password: the subject of their tokens, and the uid
	// that it must hold. One that is deleted is not among them any more, and one made again has another uid.
	Accounts map[string]string `json:"accounts,omitempty"`
	// Dir is the directory that the file names in here are relative to.
	Dir string `json:"-"`
}

// Relay is what stands in RelayFile: everything but the domains.
type Relay struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Hostname is the name in EHLO, Received and DSNs.
	Hostname string `json:"hostname"`
	// Postmaster gets the mail for postmaster and abuse at Hostname, and for a bare postmaster.
	Postmaster string `json:"postmaster"`
	// SelfNames are the host names and addresses that are this relay: an MX that is one of them is ours (RFC 5321 §5.1).
	SelfNames []string     `json:"selfNames,omitempty"`
	Listeners []Listener   `json:"listeners"`
	Access    Access       `json:"access"`
	Queue     Queue        `json:"queue"`
	Routes    []Route      `json:"routes,omitempty"`
	Egress    Egress       `json:"egress"`
	DNS       DNS          `json:"dns"`
	Policies  []RatePolicy `json:"policies,omitempty"`
	// Cordoned are the pods, by name, that take no new mail: they answer MAIL with 421 and deliver what they have.
	Cordoned []string `json:"cordoned,omitempty"`
	// Handoff says which pod gives its mail to which others; nil when none does.
	Handoff *Handoff `json:"handoff,omitempty"`
	// Givers are other relays whose pods may give their mail to those of this one, by their Admin.ServerName.
	Givers []string `json:"givers,omitempty" format:"2"`
	// Fences are what the operator knows of pods, by name, whose volume had to be taken from a node that was lost.
	Fences map[string]Fence `json:"fences,omitempty" format:"2,required"`
	// Carriers are the pods with a share in every policy of stage Delivery. The others give them what they may not
	// deliver themselves. There are none when every pod has, or will have, a share.
	Carriers []Peer `json:"carriers,omitempty" format:"2"`
	// Admin is the operator's door; nil without a cluster.
	Admin *Admin `json:"admin,omitempty"`
	// Filters judge mail before it is accepted, in this order.
	Filters []Filter `json:"filters,omitempty"`
	// Webhooks are told what becomes of mail.
	Webhooks []Webhook `json:"webhooks,omitempty"`
	// Traces are sent to a collector; nil for none.
	Traces *Traces `json:"traces,omitempty" format:"2"`
	// TokenKeysFile holds the TokenKeys. It is named when a listener has an Audience, whether or not it is there.
	TokenKeysFile string `json:"tokenKeysFile,omitempty"`
}

// Fence keeps a pod that was given up, but may still run somewhere, from the volume of the one that took its place.
type Fence struct {
	// Token grows by one with each time. A relay stores it in its spool, and refuses a spool with a higher one.
	Token int64 `json:"token"`
	// Lost is the uid of the pod that was given up last: it ends at once when it reads this.
	Lost string `json:"lost"`
}

// Traces says where traces of mail go.
type Traces struct {
	// Endpoint is the URL of a collector that takes OTLP over HTTP, to which /v1/traces is added.
	Endpoint string `json:"endpoint"`
	// SamplingPercent of messages are traced.
	SamplingPercent int `json:"samplingPercent"`
}

// TokenKeys are what the tokens of Accounts are verified with.
type TokenKeys struct {
	// Issuer is who must have issued them (the claim iss).
	Issuer string `json:"issuer"`
	// Keys is a JWK Set (RFC 7517 §5) of public keys.
	Keys json.RawMessage `json:"keys"`
}

// ListenerMode says whom a listener is for.
type ListenerMode string

const (
	// ModeRelay is for other mail servers and trusted clients; no AUTH.
	ModeRelay ListenerMode = "Relay"
	// ModeSubmission is for clients that authenticate (RFC 6409).
	ModeSubmission ListenerMode = "Submission"
)

// TLSMode is how a listener uses TLS.
type TLSMode string

const (
	TLSNone          TLSMode = "None"
	TLSOpportunistic TLSMode = "Opportunistic" // STARTTLS offered
	TLSRequired      TLSMode = "Required"      // STARTTLS before MAIL and AUTH
	TLSImplicit      TLSMode = "Implicit"      // TLS from the first octet (RFC 8314)
)

// Listener is one port.
type Listener struct {
	Name string `json:"name"`
	// Port is the port in the container: the public port, or that port + 2000 below 1024.
	Port int          `json:"port"`
	Mode ListenerMode `json:"mode"`
	TLS  TLSMode      `json:"tls"`
	// CertFile and KeyFile are PEM files; set unless TLS is None.
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
	// UsersFile holds htpasswd lines with bcrypt hashes; empty when the listener takes no passwords.
	UsersFile string `json:"usersFile,omitempty"`
	// Audience is whom the tokens of Accounts must be for (the claim aud); empty when the listener takes none.
	Audience string `json:"audience,omitempty"`
	// ProxyCIDRs are the proxies that name the client in a PROXY protocol header, v1 or v2. When set, a connection
	// from elsewhere, or without a valid header, is closed; empty for no PROXY protocol.
	ProxyCIDRs []string `json:"proxyCIDRs,omitempty"`
	// HideClient keeps the client's name and address out of Received.
	HideClient bool `json:"hideClient,omitempty"`
}

// Senders says what a trusted client may send as.
type Senders string

const (
	SendersReject Senders = "Reject" // only as a SendingDomain of the relay
	SendersAccept Senders = "Accept" // as any domain; unsigned if it is not a SendingDomain
)

// Access says who may relay without AUTH.
type Access struct {
	TrustedCIDRs      []string `json:"trustedCIDRs,omitempty"`
	UndeclaredSenders Senders  `json:"undeclaredSenders"`
}

// Queue is how long and how often mail is tried.
type Queue struct {
	RetryInitialSeconds  int   `json:"retryInitialSeconds"`
	RetryMaxSeconds      int   `json:"retryMaxSeconds"`
	MaxMessageAgeSeconds int   `json:"maxMessageAgeSeconds"`
	DelayWarningSeconds  int   `json:"delayWarningSeconds"` // 0: no delay DSN
	MaxMessageBytes      int64 `json:"maxMessageBytes"`
	// BareNewline says what becomes of an LF without CR in a message; empty is Reject.
	BareNewline BareNewline `json:"bareNewline,omitempty"`
}

// BareNewline says what becomes of an LF without CR in a message. A CR alone and NUL are always refused.
type BareNewline string

const (
	BareNewlineReject    BareNewline = "Reject"    // 550 5.6.0
	BareNewlineNormalize BareNewline = "Normalize" // becomes CRLF, before it is signed
)

// Route says where mail goes. The first route that matches wins; exactly one of MX, SmartHosts, LMTP and Backup is set.
type Route struct {
	Name  string `json:"name"`
	Match Match  `json:"match"`
	MX    *MX    `json:"mx,omitempty"`
	// SmartHosts are tried in order; one that is down is passed over until a probe finds it up.
	SmartHosts []SmartHost `json:"smartHosts,omitempty"`
	// LMTP is the mailbox server of the match's recipient domains (RFC 2033).
	LMTP *LMTP `json:"lmtp,omitempty"`
	// Backup holds mail for a primary that is down.
	Backup *Backup `json:"backup,omitempty"`
	// VerifyRecipients says whether strangers' recipients are verified at RCPT; empty is None. Not for MX.
	VerifyRecipients Verify `json:"verifyRecipients,omitempty"`
}

// Verify says how recipients are verified before they are accepted.
type Verify string

const (
	VerifyNone  Verify = "None"
	VerifyProbe Verify = "Probe" // ask the next hop: MAIL FROM:<>, RCPT
)

// LMTP is a mailbox server. STARTTLS is used when it is offered, unverified.
type LMTP struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// Backup is the primary that mail is held for while it is down.
type Backup struct {
	Host string `json:"host"`
	Port int    `json:"port"`
	// ProbeSeconds is how often a primary that is down is asked.
	ProbeSeconds int `json:"probeSeconds"`
}

// Match selects mail; an empty list matches all, a list matches any of its members literally.
type Match struct {
	RecipientDomains []string `json:"recipientDomains,omitempty"`
	SenderDomains    []string `json:"senderDomains,omitempty"`
}

// MX routes by the MX records of the recipient's domain.
type MX struct {
	// Port is 25 but in tests.
	Port int `json:"port"`
	// AllowCIDRs are the private ranges that an MX may point to.
	AllowCIDRs []string `json:"allowCIDRs,omitempty"`
}

// HopTLS is how TLS is used towards a next hop.
type HopTLS string

const (
	HopNone          HopTLS = "None"
	HopOpportunistic HopTLS = "Opportunistic" // STARTTLS if offered, not verified
	HopRequired      HopTLS = "Required"      // STARTTLS, chain and name verified
)

// SmartHost is a next hop that takes all mail of a route.
type SmartHost struct {
	Host string `json:"host"`
	Port int    `json:"port"`
	TLS  HopTLS `json:"tls"`
	// UsernameFile and PasswordFile hold the credentials for AUTH; empty for none.
	UsernameFile string `json:"usernameFile,omitempty"`
	PasswordFile string `json:"passwordFile,omitempty"`
	// OAuth2 gets tokens for AUTH XOAUTH2, in place of PasswordFile.
	OAuth2 *OAuth2 `json:"oauth2,omitempty"`
	// CAFile is a PEM bundle that the host's chain must end in; empty for the system's.
	CAFile string `json:"caFile,omitempty"`
}

// OAuth2 is how access tokens are got: with a refresh token (RFC 6749 §6), or with the client's own credentials
// (§4.4) when there is none.
type OAuth2 struct {
	TokenURL string   `json:"tokenURL"`
	Scopes   []string `json:"scopes,omitempty"`
	// ClientIDFile and ClientSecretFile name the client; RefreshTokenFile is empty for the client's own credentials.
	ClientIDFile     string `json:"clientIDFile"`
	ClientSecretFile string `json:"clientSecretFile,omitempty"`
	RefreshTokenFile string `json:"refreshTokenFile,omitempty"`
}

// Egress is how the world sees this relay.
type Egress struct {
	// Addresses are the public ones. When set, only their address families are dialled.
	Addresses []string `json:"addresses,omitempty"`
}

// DNS says whom to ask.
type DNS struct {
	// Resolvers are host:port; empty for those of /etc/resolv.conf.
	Resolvers []string `json:"resolvers,omitempty"`
}

// Stage is when a policy is applied.
type Stage string

const (
	StageAccept   Stage = "Accept"   // at SMTP time; over the limit is 451 4.7.1
	StageDelivery Stage = "Delivery" // in the queue; over the limit waits
)

// LimitKey is what a limit is counted per.
type LimitKey string

const (
	KeySite         LimitKey = "Site"         // Delivery: the domains that share their MX hosts
	KeySenderDomain LimitKey = "SenderDomain" // Delivery: the domain of the SendingDomain, or of the reverse path
	KeySender       LimitKey = "Sender"       // Accept: the AUTH user, else the reverse path
)

// RatePolicy limits messages and connections. Of several that apply, the strictest binds.
type RatePolicy struct {
	// Name is namespace/name of the RateLimitPolicy.
	Name  string   `json:"name"`
	Stage Stage    `json:"stage"`
	Key   LimitKey `json:"key"`
	// SenderDomains limits the policy to mail of these SendingDomains; empty for all.
	SenderDomains []string `json:"senderDomains,omitempty"`
	// DestinationDomains limits the policy to mail for these domains; empty for all.
	DestinationDomains []string `json:"destinationDomains,omitempty"`
	// MXSuffixes limits the policy to mail for domains each of whose MX hosts is one of these names or ends in a dot
	// and one of them; empty for all. All that matches is one site.
	MXSuffixes []string `json:"mxSuffixes,omitempty"`
	// Messages per PerSeconds, at most Burst at once; 0 for no such limit.
	Messages   int `json:"messages,omitempty"`
	PerSeconds int `json:"perSeconds,omitempty"`
	Burst      int `json:"burst,omitempty"`
	// MaxConnections at the same time; 0 for no such limit.
	MaxConnections int `json:"maxConnections,omitempty"`
	// RecipientsPerMessage is how many recipients a transaction has, MessagesPerConnection how many transactions a
	// connection; 0 for no such limit. Both are for the Delivery stage.
	RecipientsPerMessage  int `json:"recipientsPerMessage,omitempty"`
	MessagesPerConnection int `json:"messagesPerConnection,omitempty"`
	// Shares are what each pod lets through when the limits hold for all of them together; a pod that is not in it lets
	// nothing through. Nil when each pod lets all of it through.
	Shares map[string]Share `json:"shares,omitzero" format:"2,required"`
	// Exact says of the policy of a pod that it is a share: what was let through before the pod knew of it counts.
	// Nothing says that the pod has no share. Both are For's to say.
	Exact   bool `json:"-"`
	Nothing bool `json:"-"`
}

// Share is a pod's part in the limits of a RatePolicy that have the same names; 0 for no such limit.
type Share struct {
	Messages       int `json:"messages,omitempty"`
	Burst          int `json:"burst,omitempty"`
	MaxConnections int `json:"maxConnections,omitempty"`
}

// For is the policy as it holds in a pod.
func (p RatePolicy) For(pod string) RatePolicy {
	if p.Shares == nil {
		return p
	}
	own, has := p.Shares[pod]
	p.Shares, p.Exact, p.Nothing = nil, true, !has
	p.Messages, p.Burst, p.MaxConnections = own.Messages, own.Burst, own.MaxConnections
	return p
}

// OnFailure says what a filter that gives no verdict means.
type OnFailure string

const (
	FailAccept OnFailure = "Accept" // the next filter is asked
	FailDefer  OnFailure = "Defer"  // 451 4.7.1
)

// Filter judges mail before it is accepted. Exactly one of DNSBL, Rspamd and Milter is set.
type Filter struct {
	Name string `json:"name"`
	// TimeoutSeconds bounds one question.
	TimeoutSeconds int       `json:"timeoutSeconds"`
	OnFailure      OnFailure `json:"onFailure"`
	DNSBL          *DNSBL    `json:"dnsbl,omitempty"`
	Rspamd         *Rspamd   `json:"rspamd,omitempty"`
	Milter         *Milter   `json:"milter,omitempty"`
}

// DNSBL looks clients up that are neither authenticated nor trusted (RFC 5782).
type DNSBL struct {
	Zones  []string    `json:"zones"`
	Action DNSBLAction `json:"action"`
}

// DNSBLAction is what becomes of a client that is listed.
type DNSBLAction string

const (
	DNSBLReject DNSBLAction = "Reject" // 550 5.7.1
	DNSBLReport DNSBLAction = "Report" // a line in the log, and a count
)

// Rspamd asks rspamd over HTTP (its /checkv2).
type Rspamd struct {
	URL string `json:"url"`
	// PasswordFile holds the password, if it wants one.
	PasswordFile string `json:"passwordFile,omitempty"`
}

// Milter asks a mail filter (the Sendmail protocol, version 6).
type Milter struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// Webhook is told what becomes of mail, as CloudEvents over HTTP.
type Webhook struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// SecretFile holds the key that requests are signed with.
	SecretFile string `json:"secretFile,omitempty"`
	// Types are those of relay/event; empty for all.
	Types []string `json:"types,omitempty"`
}

// Admin is the door for the operator (mTLS) and for metrics.
type Admin struct {
	CertFile string `json:"certFile"`
	KeyFile  string `json:"keyFile"`
	// CAFile signs the clients that may ask.
	CAFile string `json:"caFile"`
	// ServerName is the name in the certificate, by which the pods of a relay know each other; empty for no peers.
	ServerName string `json:"serverName,omitempty"`
	// MetricsTokenFile holds the bearer token that a scraper may show in place of a client certificate.
	MetricsTokenFile string `json:"metricsTokenFile,omitempty"`
}

// Handoff is the emptying of a pod that is to go.
type Handoff struct {
	// From is the pod.
	From string `json:"from"`
	// Peers take its mail: the pods that stay, or those of another relay.
	Peers []Peer `json:"peers,omitempty"`
}

// Peer is a pod that takes mail.
type Peer struct {
	Pod string `json:"pod"`
	// ServerName is the name in its certificate where it is of another relay, as in Admin; empty for one of our own.
	ServerName string `json:"serverName,omitempty" format:"2"`
	// Address is its IP address at the moment; empty while it has none.
	Address string `json:"address,omitempty"`
	// Host is its name in the cluster's DNS, which stays.
	Host string `json:"host"`
}
