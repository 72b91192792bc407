// Package status is everything a relay reports: fact, from the relay to the operator. Plain structs,
// standard library only.
package status

import "time"

// Status is what GET /status answers.
type Status struct {
	// Pod is the host name the process runs under: the pod's name.
	Pod     string `json:"pod"`
	Version string `json:"version"`
	// ConfigFormat is the newest format of a configuration that the relay reads; 0, from one that does not say, is 1.
	ConfigFormat int `json:"configFormat,omitempty"`
	// Generation is that of the configuration in force; 0 when there is none.
	Generation int64 `json:"generation"`
	// ConfigError says why a newer configuration is not in force; empty when there is none.
	ConfigError string `json:"configError,omitempty"`
	// NotReady says why the pod should not be sent mail; empty when it should.
	NotReady string    `json:"notReady,omitempty"`
	Started  time.Time `json:"started"`
	Queue    Queue     `json:"queue"`
	// DiskLow says that the disk is below its reserve: mail is delivered, and none accepted.
	DiskLow bool `json:"diskLow,omitempty"`
	// Slowest are up to ten destinations whose mail waits longest.
	Slowest   []Destination `json:"slowest,omitempty"`
	Ledger    Ledger        `json:"ledger"`
	Listeners []Listener    `json:"listeners"`
	// Policies are the names of the rate policies in force.
	Policies []string `json:"policies,omitempty"`
	// Exceeds says that more connections are open than these policies allow: they were opened under those before, and end.
	Exceeds bool `json:"exceeds,omitempty"`
	// TokenKeysWanted says that a client has lately shown a token whose key is not in the configuration: the keys
	// should be fetched anew.
	TokenKeysWanted bool `json:"tokenKeysWanted,omitempty"`
	// Receiving is how many messages are coming in, from clients and from peers. While the pod is cordoned, those are the last: when there were none
	// and the queue was empty, it stays empty.
	Receiving int64 `json:"receiving,omitempty"`
	// Handoff is how far this pod is with giving its mail to its peers; nil when it is not to.
	Handoff *Handoff `json:"handoff,omitempty"`
}

// Handoff is how far a pod is with giving its mail away. What is left is its queue.
type Handoff struct {
	Phase HandoffPhase `json:"phase"`
	Since time.Time    `json:"since"`
	// Problem is what is in the way; empty when nothing is.
	Problem string `json:"problem,omitempty"`
}

// HandoffPhase is where a hand-off is.
type HandoffPhase string

const (
	HandoffRunning HandoffPhase = "HandingOff" // messages go to peers
	HandoffWaiting HandoffPhase = "Waiting"    // no peer takes anything at the moment
	HandoffDone    HandoffPhase = "Done"       // there is no mail, and the peers know all that the pod knows
)

// Queue counts recipients, not messages.
type Queue struct {
	// Queued is all of them: waiting, deferred and held.
	Queued int64 `json:"queued"`
	// Deferred have been tried at least once.
	Deferred int64 `json:"deferred"`
	// Held are kept back by an admin.
	Held int64 `json:"held"`
	// Damaged are records of the queue, not recipients, that do not match their checksum and are kept aside.
	Damaged int64 `json:"damaged,omitempty"`
	// Oldest is when the oldest message in the queue was accepted; nil when the queue is empty.
	Oldest *time.Time `json:"oldest,omitempty"`
}

// Destination says why mail for a domain waits.
type Destination struct {
	Domain string `json:"domain"`
	Queue
	// Reason is one of the closed set of Reasons.
	Reason Reason `json:"reason"`
	// Since is when that reason began to hold.
	Since time.Time `json:"since"`
	// Reply is the last reply of an attempt, if there was one.
	Reply string `json:"reply,omitempty"`
}

// Reason is why mail waits.
type Reason string

const (
	Ready        Reason = "Ready"        // may go at any moment
	InFlight     Reason = "InFlight"     // an attempt is running
	Deferred     Reason = "Deferred"     // the receiver said 4xx, or could not be reached
	RateLimited  Reason = "RateLimited"  // a RateLimitPolicy's messages or connections bind
	Held         Reason = "Held"         // an admin holds it
	LookupFailed Reason = "LookupFailed" // DNS gave no answer
	Suspended    Reason = "Suspended"    // an admin's directive keeps it from being attempted
	NextHopDown  Reason = "NextHopDown"  // the primary, or every smart host, is known to be down
)

// Ledger counts recipients since the spool was made:
// Accepted + HandedIn = Delivered + Queued + Failed + Suppressed + Removed + HandedOut.
type Ledger struct {
	Accepted int64 `json:"accepted"`
	// HandedIn came from another pod, which had accepted them.
	HandedIn   int64 `json:"handedIn,omitempty"`
	Delivered  int64 `json:"delivered"`
	Queued     int64 `json:"queued"`
	Failed     int64 `json:"failed"`
	Suppressed int64 `json:"suppressed"`
	Removed    int64 `json:"removed"`
	// HandedOut went to another pod, which has them in its books now.
	HandedOut int64 `json:"handedOut,omitempty"`
}

// Difference is how many recipients came in of which the books do not know where they are.
func (l Ledger) Difference() int64 {
	return l.Accepted + l.HandedIn - l.Delivered - l.Queued - l.Failed - l.Suppressed - l.Removed - l.HandedOut
}

// Balanced says that the books are right.
func (l Ledger) Balanced() bool { return l.Difference() == 0 }

// Listener is one port as it is.
type Listener struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// Error says why the listener does not listen, or serves without TLS; empty when all is well.
	Error string `json:"error,omitempty"`
	// CertificateExpires is when the certificate in use ends; nil without TLS.
	CertificateExpires *time.Time `json:"certificateExpires,omitempty"`
}
