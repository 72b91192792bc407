package suppress

import "github.com/postrider/postrider/relay/reply"

// Hard says whether a reply means that there is no such recipient, now and for the time to come (RFC 3463 §3.2, §3.3;
// RFC 7505). Policy, spam, size, routing and content say nothing about the recipient and do not count, nor does a
// reply that is temporary. A server that gives no enhanced code, or one without meaning, is taken at its word only where it speaks of the
// recipient alone: atRecipient says that it answered RCPT.
func Hard(r reply.Reply, atRecipient bool) bool {
	if r.Class() != reply.Permanent {
		return false
	}
	switch r.Enhanced {
	case "5.1.1", // no such mailbox
		"5.1.2",  // no such domain
		"5.1.3",  // not an address
		"5.1.6",  // moved, nobody knows where
		"5.1.10", // the domain takes no mail
		"5.2.1":  // the mailbox is disabled
		return true
	case "", "5.0.0": // it says no more than its class
		return atRecipient && (r.Code == 550 || r.Code == 551 || r.Code == 553)
	}
	return false
}
