package handoff

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
)

// brief is how long a peer may take to answer a question.
const brief = 15 * time.Second

// errElsewhere says that another pod has the address that a peer had.
var errElsewhere = errors.New("another pod answered")

// peer is a receiver as the sender sees it.
type peer struct {
	config.Peer
	client *http.Client
	from   string

	// What the sender remembers of it; its mutex guards it.
	room int64 // what it has free, less what it was given since it was asked
	full bool  // it refused a message since it was asked
	// told are the directives that it has; listed says that it has the suppressions as they were when it was first asked.
	told   map[string]bool
	listed bool
}

// pick is the peer with the most room; nil when none takes anything.
func pick(peers []*peer) *peer {
	var best *peer
	for _, p := range peers {
		if !p.full && (best == nil || p.room > best.room) {
			best = p
		}
	}
	return best
}

func (p *peer) offer(ctx context.Context) (Offer, error) {
	var o Offer
	err := p.ask(ctx, http.MethodGet, pathOffer, nil, &o)
	return o, err
}

func (p *peer) forget(ctx context.Context, keys []string) error {
	return p.ask(ctx, http.MethodPost, pathForget, forget{keys}, nil)
}

func (p *peer) tell(ctx context.Context, l Lists) error {
	return p.ask(ctx, http.MethodPost, pathLists, l, nil)
}

// settle finds out what became of a try whose answer was lost: it never succeeds after it was refused.
func (p *peer) settle(ctx context.Context, key string, id envelope.ID) (answer, error) {
	var a answer
	err := p.ask(ctx, http.MethodPost, pathCancel, cancel{Key: key, From: p.from, ID: id}, &a)
	return a, err
}

// ask sends a question in JSON and reads the answer.
func (p *peer) ask(ctx context.Context, method, path string, question, reply any) error {
	ctx, stop := context.WithTimeout(ctx, brief)
	defer stop()
	var body io.Reader
	if question != nil {
		text, err := json.Marshal(question)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	return p.do(ctx, method, path, http.Header{}, body, 0, reply)
}

// give sends a message, for a minute at most, and a second more for each MiB. One chunk of it is in memory at a time.
func (p *peer) give(ctx context.Context, l letter, content io.Reader) (answer, error) {
	ctx, stop := context.WithTimeout(ctx, time.Minute+time.Duration(l.Size>>20)*time.Second)
	defer stop()
	var a answer
	text, err := json.Marshal(l)
	if err != nil {
		return a, err
	}
	header := http.Header{headerLetter: {strconv.Itoa(len(text))}}
	body := io.MultiReader(bytes.NewReader(text), content) // which cannot be sent again behind our back
	err = p.do(ctx, http.MethodPost, pathMessage, header, body, int64(len(text))+l.Size, &a)
	return a, err
}

func (p *peer) do(ctx context.Context, method, path string, header http.Header, body io.Reader, length int64, reply any) error {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+p.Pod+path, body)
	if err != nil {
		return err
	}
	req.Header = header
	req.Header.Set(headerTo, p.Pod)
	if length > 0 {
		req.ContentLength = length
	}
	response, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAsked))
	switch {
	case err != nil:
		return fmt.Errorf("answer of %s: %w", p.Pod, err)
	case response.StatusCode == http.StatusMisdirectedRequest:
		return fmt.Errorf("%w: %s", errElsewhere, bytes.TrimSpace(text))
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answered %s: %s", p.Pod, response.Status, bytes.TrimSpace(text))
	case reply == nil:
		return nil
	}
	return json.Unmarshal(text, reply)
}
