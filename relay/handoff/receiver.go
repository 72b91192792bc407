package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
)

const (
	// maxLetter bounds a letter: a hundred thousand recipients fit.
	maxLetter = 32 << 20
	// maxAsked bounds any other request.
	maxAsked = 4 << 20
	// transfer is how long a message may take.
	transfer = 10 * time.Minute
	// sweepPage is how many notes a sweep looks at in one go.
	sweepPage = 1000
)

// ReceiverOptions are what a Receiver works with.
type ReceiverOptions struct {
	Store *spool.Store
	// Pod is the name of this one.
	Pod string
	// Free is how much room there is, in octets.
	Free func() (uint64, error)
	// Refusal says why no message of so many octets is taken now; empty when it is.
	Refusal func(size int64) string
	// Took is told of entries that came from a pod, after they are stored.
	Took func(from string, entries []envelope.Envelope)
	// Merge takes up what a peer knows besides its mail. What it answered with nil is durable.
	Merge func(Lists) error
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	Log *slog.Logger
}

// Receiver takes messages from peers. Who may speak to it is decided before it.
type Receiver struct {
	o   ReceiverOptions
	mux *http.ServeMux
	// receiving counts the messages that are coming in.
	receiving atomic.Int64

	mu sync.Mutex
	// at are the messages that are being received: two at a time would write the same octets.
	at map[envelope.ID]struct{}
}

// NewReceiver makes one.
func NewReceiver(o ReceiverOptions) *Receiver {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Receiver{o: o, mux: http.NewServeMux(), at: map[envelope.ID]struct{}{}}
	r.mux.HandleFunc("GET "+pathOffer, r.offer)
	r.mux.HandleFunc("POST "+pathMessage, r.message)
	r.mux.HandleFunc("POST "+pathCancel, asked(r.cancel))
	r.mux.HandleFunc("POST "+pathForget, asked(func(f forget) (struct{}, error) { return struct{}{}, o.Store.DropAll(inTable, f.Keys) }))
	r.mux.HandleFunc("POST "+pathLists, asked(func(l Lists) (struct{}, error) { return struct{}{}, o.Merge(l) }))
	return r
}

// ServeHTTP implements http.Handler. What was meant for another pod is not looked at.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if to := req.Header.Get(headerTo); to != r.o.Pod {
		http.Error(w, fmt.Sprintf("this is %s, not %s", r.o.Pod, to), http.StatusMisdirectedRequest)
		return
	}
	r.mux.ServeHTTP(w, req)
}

// asked serves a question in JSON.
func asked[Q, A any](f func(Q) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		var q Q
		if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxAsked)).Decode(&q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a, err := f(q)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		respond(w, a)
	}
}

func respond(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // a sender that is gone asks again
}

func (r *Receiver) offer(w http.ResponseWriter, _ *http.Request) {
	free, err := r.o.Free()
	o := Offer{Pod: r.o.Pod, Free: free, Refusal: r.o.Refusal(0)}
	if err != nil {
		o.Refusal = err.Error()
	}
	respond(w, o)
}

// message takes a message. An error is no verdict: the sender finds out by cancelling.
func (r *Receiver) message(w http.ResponseWriter, req *http.Request) {
	slow := http.NewResponseController(w)
	_ = errors.Join(slow.SetReadDeadline(time.Now().Add(transfer)), slow.SetWriteDeadline(time.Now().Add(transfer))) // not in tests
	l, err := readLetter(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	verdict, err := r.take(&l, req.Body)
	if err != nil {
		r.o.Log.Warn("a message that is handed over was not taken", "spool_id", l.ID, "from", l.From, "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	respond(w, verdict)
}

func readLetter(req *http.Request) (letter, error) {
	var l letter
	n, err := strconv.ParseInt(req.Header.Get(headerLetter), 10, 64)
	if err != nil || n <= 0 || n > maxLetter {
		return l, fmt.Errorf("a letter of %q octets", req.Header.Get(headerLetter))
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(req.Body, text); err != nil {
		return l, fmt.Errorf("read the letter: %w", err)
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return l, fmt.Errorf("read the letter: %w", err)
	}
	if l.Key == "" || l.ID == "" || len(l.Entries) == 0 {
		return l, errors.New("the letter names no message")
	}
	return l, nil
}

// Receiving is how many messages are coming in. One that is not counted yet is refused if Refusal says so from now on.
func (r *Receiver) Receiving() int64 { return r.receiving.Load() }

// take stores a message, or says that it never will under this key.
func (r *Receiver) take(l *letter, content io.Reader) (answer, error) {
	r.receiving.Add(1) // before Refusal is asked: see Receiving
	defer r.receiving.Add(-1)
	if why := r.o.Refusal(l.Size); why != "" {
		return answer{Verdict: refused, Why: why, Full: r.o.Refusal(0) != ""}, nil
	}
	entries, err := l.open()
	if err != nil {
		return answer{Verdict: refused, Why: err.Error()}, nil
	}
	done, err := r.alone(l.ID)
	if err != nil {
		return answer{}, err
	}
	defer done()
	row, err := note{ID: l.ID, From: l.From, At: r.o.Now(), Done: true}.row(l.Key)
	if err != nil {
		return answer{}, err
	}
	w := r.o.Store.Receive(l.ID)
	defer w.Abort()
	if _, err := io.Copy(w, io.LimitReader(content, l.Size+1)); err != nil {
		return answer{}, fmt.Errorf("receive message %s: %w", l.ID, err)
	}
	stored, err := w.Take(inTable, row, entries)
	switch {
	case errors.Is(err, spool.ErrTaken):
		return r.recall(l.Key)
	case errors.Is(err, spool.ErrPresent), errors.Is(err, spool.ErrDamaged):
		return answer{Verdict: refused, Why: err.Error()}, nil
	case err != nil:
		return answer{}, err
	}
	r.o.Took(l.From, stored)
	return answer{Verdict: taken}, nil
}

// alone keeps a message to one request.
func (r *Receiver) alone(id envelope.ID) (done func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, busy := r.at[id]; busy {
		return nil, fmt.Errorf("message %s is being received", id)
	}
	r.at[id] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.at, id)
	}, nil
}

// recall is the verdict on a try that was noted before.
func (r *Receiver) recall(key string) (answer, error) {
	value, err := r.o.Store.Lookup(inTable, key)
	if err != nil {
		return answer{}, err
	}
	n, err := parseNote(spool.Row{Key: key, Value: value})
	if err != nil {
		return answer{}, err
	}
	if !n.Done {
		return answer{Verdict: refused, Why: "the sender took it back"}, nil
	}
	return answer{Verdict: taken}, nil
}

// cancel refuses a try for ever, unless it succeeded.
func (r *Receiver) cancel(c cancel) (answer, error) {
	row, err := note{ID: c.ID, From: c.From, At: r.o.Now()}.row(c.Key)
	if err != nil {
		return answer{}, err
	}
	err = r.o.Store.Refuse(c.ID, inTable, row)
	if errors.Is(err, spool.ErrTaken) {
		return r.recall(c.Key)
	}
	return answer{Verdict: refused}, err
}

// Sweep forgets the notes that no sender will ask for any more.
func (r *Receiver) Sweep() error {
	for after := ""; ; {
		rows, err := r.o.Store.Rows(inTable, after, sweepPage)
		if err != nil {
			return err
		}
		var old []string
		for _, row := range rows {
			after = row.Key
			if n, err := parseNote(row); err == nil && r.o.Now().Sub(n.At) > remembered {
				old = append(old, row.Key)
			}
		}
		if len(old) > 0 {
			err = r.o.Store.DropAll(inTable, old)
		}
		if err != nil || len(rows) < sweepPage {
			return err
		}
	}
}
