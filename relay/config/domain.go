package config

// Domain is a SendingDomain.
type Domain struct {
	// Name is lower case, in A-labels.
	Name string `json:"name"`
	// Users who may send as it after AUTH.
	Users []string `json:"users,omitempty"`
	// Accounts are those of Config.Accounts who may send as it.
	Accounts []string `json:"accounts,omitempty"`
	// AccountsOf admits every one of the Accounts whose name begins with it; empty for none.
	AccountsOf string `json:"accountsOf,omitempty"`
	// Sign says that all mail whose From is this domain is signed. With Sign and no Keys, such mail is
	// answered 451 4.7.5: never unsigned.
	Sign bool      `json:"sign"`
	Keys []DKIMKey `json:"keys,omitempty"`
	// Suppression is what becomes of mail for recipients that bounced; nil for nothing.
	Suppression *Suppression `json:"suppression,omitempty"`
	// Weight is its share where several sender domains wait for a site; 0 for DefaultWeight.
	Weight int `json:"weight,omitempty"`
	// Priorities give mail a priority by its header, where the client gave none; the first that matches does.
	Priorities []PriorityRule `json:"priorities,omitempty"`
}

// DefaultWeight is the share of a sender domain that has no other.
const DefaultWeight = 10

// PriorityRule gives mail a priority.
type PriorityRule struct {
	// Header is the name of a field.
	Header string `json:"header"`
	// Values are what the field may hold, in any case; "*" in one stands for anything. Empty for any value.
	Values []string `json:"values,omitempty"`
	// Priority is -9 to 9 (RFC 6710).
	Priority int `json:"priority"`
}

// SuppressionAction is what becomes of mail for a recipient that failed for good lately.
type SuppressionAction string

const (
	SuppressReject SuppressionAction = "Reject" // 550 5.1.1 at RCPT
	SuppressDrop   SuppressionAction = "Drop"   // accepted, and booked as suppressed
)

// Suppression keeps recipients that failed for good from being tried again.
type Suppression struct {
	Action SuppressionAction `json:"action"`
	// Seconds is how long a recipient stays on the list.
	Seconds int64 `json:"seconds"`
}

// Algorithm of a DKIM key.
type Algorithm string

const (
	RSA2048 Algorithm = "RSA2048"
	Ed25519 Algorithm = "Ed25519"
)

// DKIMKey makes one signature.
type DKIMKey struct {
	Selector  string    `json:"selector"`
	Algorithm Algorithm `json:"algorithm"`
	// File is a PKCS #8 PEM file.
	File string `json:"file"`
	// Digest is the hex SHA-256 of the file's contents. Key files are listed here and not in the Index, which
	// would outgrow its ConfigMap with thousands of domains.
	Digest string `json:"digest,omitempty"`
}
