package webhook

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/event"
)

// typePrefix stands before the type of a mail event.
const typePrefix = "dev.postrider.mail."

// occurrence is an event and its id, the same for every webhook and every attempt to tell it.
type occurrence struct {
	id string
	event.Event
}

// cloudEvent is an event in the JSON format of CloudEvents 1.0.
type cloudEvent struct {
	SpecVersion     string      `json:"specversion"`
	ID              string      `json:"id"`
	Source          string      `json:"source"`
	Type            string      `json:"type"`
	Subject         string      `json:"subject,omitempty"`
	Time            string      `json:"time"`
	DataContentType string      `json:"datacontenttype"`
	Data            event.Event `json:"data"`
}

// line is the event as one line of JSON: it is stored and sent like this.
func (o *occurrence) line(source string) ([]byte, error) {
	line, err := json.Marshal(cloudEvent{
		SpecVersion:     "1.0",
		ID:              o.id,
		Source:          source,
		Type:            typePrefix + strings.ToLower(string(o.Type)),
		Subject:         o.SpoolID,
		Time:            o.At.UTC().Format(time.RFC3339Nano),
		DataContentType: "application/json",
		Data:            o.Event,
	})
	return append(line, '\n'), err
}

// array makes a batch of lines: a JSON array.
func array(lines [][]byte) []byte {
	return slices.Concat([]byte("["), bytes.Join(lines, []byte(",")), []byte("]"))
}
