package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// request is a line of the audit log, as far as it matters.
type request struct {
	Verb     string    `json:"verb"`
	Received time.Time `json:"requestReceivedTimestamp"`
	Object   struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
}

func (r request) reads() bool { return r.Verb == "get" || r.Verb == "list" }

func (r request) String() string {
	if r.Object.Subresource != "" {
		return fmt.Sprintf("%s %s/%s", r.Verb, r.Object.Resource, r.Object.Subresource)
	}
	return r.Verb + " " + r.Object.Resource
}

// counted are requests by what they are.
type counted struct {
	Reads  map[string]int `json:"reads"`
	Writes map[string]int `json:"writes"`
}

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

// audit counts what the operator asked of the API server between two moments.
func (c *cluster) audit(from, until time.Time) (counted, error) {
	counts := counted{Reads: map[string]int{}, Writes: map[string]int{}}
	file, err := os.Open(c.auditLog())
	if err != nil {
		return counts, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); ; {
		if !lines.Scan() {
			return counts, lines.Err()
		}
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return counts, fmt.Errorf("the audit log: %w", err)
		}
		switch {
		case r.Received.Before(from) || r.Received.After(until):
		case r.reads():
			counts.Reads[r.String()]++
		default:
			counts.Writes[r.String()]++
		}
	}
}
