// Package handoff owns how queued messages move from a pod that is to go to its peers, none lost and none twice.
//
// For each message: the sender stores which peer is to get it, under a key of that one try (bound: nothing else happens
// to it from then on); the receiver stores message, entries and key in one synced batch; the sender removes the
// message, and says so to the receiver, which forgets the key. When an answer is lost, the sender asks the
// receiver to refuse the key for ever: either it has taken the message, or it never will. Until that is known the message
// stays where it is, bound, whatever else becomes of the pod. An admin may remove it: the peer may be gone for good.
//
// It refuses to interpret mail and to decide whether a pod is to go.
package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
	"github.com/postrider/postrider/relay/suppress"
)

const (
	// outTable holds a note for each message that is bound for a peer, or gone to it; inTable one for each that was
	// taken from a peer, or refused.
	outTable = "handoff-out"
	inTable  = "handoff-in"
	// remembered is how long a receiver keeps a note that no sender has confirmed. A sender whose note is nearly as
	// old asks no more: the answer might be wrong.
	remembered = 30 * 24 * time.Hour
	askedFor   = 29 * 24 * time.Hour
	// silentAfter is for how long a peer is asked in vain before an admin may remove what is bound for it.
	silentAfter = 10 * time.Minute
)

// ErrLeaving says that a message is being handed to a peer: it can be changed there in a moment.
var ErrLeaving = errors.New("it is being handed to another pod; ask there, or again in a moment; if that pod is gone for good, delete or bounce it after ten minutes")

// errInFlight says that an attempt for a message is running: it leaves after that.
var errInFlight = errors.New("an attempt is running")

// note is what either side stores of a try.
type note struct {
	ID envelope.ID `json:"id"`
	// Peer is the receiver, in a sender's note.
	Peer config.Peer `json:"peer,omitzero"`
	// From is the sender, in a receiver's.
	From string    `json:"from,omitempty"`
	At   time.Time `json:"at"`
	// Done: the message has gone, or was taken. In a receiver's note, without it the try was refused.
	Done bool `json:"done,omitempty"`
}

func (n note) row(key string) (spool.Row, error) {
	value, err := json.Marshal(n)
	return spool.Row{Key: key, Value: value}, err
}

func parseNote(row spool.Row) (note, error) {
	var n note
	if err := json.Unmarshal(row.Value, &n); err != nil {
		return n, fmt.Errorf("note of the hand-off %s: %w", row.Key, err)
	}
	return n, nil
}

// verdict is what a receiver says of a try.
type verdict string

const (
	// taken: the message is on its stable storage.
	taken verdict = "taken"
	// refused: it is not, and never will be by this try.
	refused verdict = "refused"
	// unknown: there was no answer.
	unknown verdict = ""
)

// answer is what a receiver says to a try.
type answer struct {
	Verdict verdict `json:"verdict"`
	// Why it was refused.
	Why string `json:"why,omitempty"`
	// Full: nothing else would be taken now, either.
	Full bool `json:"full,omitempty"`
}

// letter goes ahead of a message's octets.
type letter struct {
	Key     string      `json:"key"`
	From    string      `json:"from"`
	ID      envelope.ID `json:"id"`
	Size    int64       `json:"size"`
	Entries []sealed    `json:"entries"`
}

// sealed is an entry as the spool keeps it.
type sealed struct {
	Domain string `json:"domain"`
	Record []byte `json:"record"`
}

func newLetter(key, from string, entries []envelope.Envelope) letter {
	l := letter{Key: key, From: from, ID: entries[0].ID, Size: entries[0].Size}
	for i := range entries {
		l.Entries = append(l.Entries, sealed{entries[i].Domain, spool.EncodeEntry(&entries[i])})
	}
	return l
}

// open reads the entries; an error says that they are not as they were sealed.
func (l *letter) open() ([]envelope.Envelope, error) {
	var entries []envelope.Envelope
	for _, s := range l.Entries {
		e, err := spool.DecodeEntry(envelope.Key{ID: l.ID, Domain: s.Domain}, s.Record)
		if err != nil {
			return nil, err
		}
		e.Size = l.Size
		entries = append(entries, e)
	}
	return entries, nil
}

// Offer is what a peer says before it is given anything.
type Offer struct {
	Pod string `json:"pod"`
	// Free is the room that it has, in octets.
	Free uint64 `json:"free"`
	// Refusal is why it takes nothing now; empty when it does.
	Refusal string `json:"refusal,omitempty"`
}

// Lists are what a pod knows besides its mail: what admins told it, and which recipients failed for good.
type Lists struct {
	Directives   []directive.Directive `json:"directives,omitempty"`
	Suppressions []suppress.Entry      `json:"suppressions,omitempty"`
}

// cancel asks that a try be refused for ever.
type cancel struct {
	Key  string      `json:"key"`
	From string      `json:"from"`
	ID   envelope.ID `json:"id"`
}

// forget names tries whose notes are needed no more.
type forget struct {
	Keys []string `json:"keys"`
}

// Paths and headers of the receiver.
const (
	// Path is where the receiver is served.
	Path        = "/handoff/"
	pathOffer   = Path + "offer"
	pathMessage = Path + "message"
	pathCancel  = Path + "cancel"
	pathForget  = Path + "forget"
	pathLists   = Path + "lists"
	// headerTo names the pod that is meant: an address may have gone to another.
	headerTo = "Postrider-To"
	// headerLetter is the length of the letter, in octets.
	headerLetter = "Postrider-Letter"
)
