package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/postrider/postrider/relay/event"
)

const (
	// longestLine is the longest that is read; Record's are shorter, for replies and addresses are bounded.
	longestLine = 64 << 10
	// maxFound is how many events of a message are returned, the newest ones: a thousand recipients with ten attempts
	// each.
	maxFound = 10_000
)

// Find returns what happened to a message, the oldest first, and what was reported by it when it is a DSN.
func (j *Journal) Find(spoolID string) ([]event.Event, error) {
	j.flush()
	paths, err := j.files()
	if err != nil {
		return nil, err
	}
	var found []event.Event
	for _, path := range slices.Backward(paths) {
		events, err := search(path, spoolID)
		if errors.Is(err, fs.ErrNotExist) {
			break // its turn in the ring was over
		}
		if err != nil {
			return nil, fmt.Errorf("search the journal: %w", err)
		}
		found = append(events, found...)
		if len(found) >= maxFound {
			return found[len(found)-maxFound:], nil
		}
	}
	return found, nil
}

// search finds the events of a message in a file. A line that cannot be read is passed over.
func search(path, spoolID string) ([]event.Event, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	quoted := []byte(`"` + spoolID + `"`)
	lines := bufio.NewReaderSize(f, longestLine)
	var found []event.Event
	for {
		line, err := lines.ReadSlice('\n')
		if bytes.Contains(line, quoted) {
			var e event.Event
			if json.Unmarshal(line, &e) == nil && concerns(&e, spoolID) {
				found = append(found, e)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// concerns says that an event is about a message, or tells of the DSN that the message is.
func concerns(e *event.Event, spoolID string) bool {
	return e.SpoolID == spoolID || e.Type == event.Reported && e.Reply == spoolID
}
