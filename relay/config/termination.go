package config

// How long a relay may take from SIGTERM to its end, in seconds, one phase after the other. Each phase ends as soon as
// there is nothing left to wait for, but for the first. The operator gives a pod TerminationSeconds before it is killed;
// one that is killed all the same loses nothing, but may send again what was in flight.
const (
	// EndpointSeconds is how long new clients are served as before while the network learns that the pod is going: it
	// is told at the same moment as the relay, and takes a moment to pass it on to every node.
	EndpointSeconds = 5
	// SessionSeconds is how long a client may go on with a transaction that it has begun, and a delivery with one whose
	// content is not sent yet. A client may pause for three minutes between two blocks (RFC 5321 §4.5.3.2.5), but before
	// its 250 nothing of the message is ours: one that is cut off sends it again, elsewhere.
	SessionSeconds = 20
	// ReplySeconds is how long the answer to a message that was sent whole is waited for: RFC 5321 §4.5.3.2.6 asks for
	// ten minutes, because a receiver that is not waited for may have taken the message and gets it twice.
	ReplySeconds = 600
	// CloseSeconds is for flushing and closing the spool.
	CloseSeconds = 20
	// TerminationSeconds is all of it.
	TerminationSeconds = EndpointSeconds + SessionSeconds + ReplySeconds + CloseSeconds
)
