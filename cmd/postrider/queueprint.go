package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/envelope"
)

func printQueue(s streams, o output, pages []queuePage) error {
	if o.structured() {
		return o.write(s.out, map[string]any{"relays": pages})
	}
	header := []string{"RELAY", "ID", "DESTINATION", "FROM", "RECIPIENTS", "SIZE", "AGE", "TRIES", "NEXT", "WHY"}
	now := time.Now()
	var rows [][]string
	for _, p := range pages {
		for _, e := range p.Entries {
			rows = append(rows, append([]string{p.Relay}, entryRow(e, now, o.wide())...))
		}
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(s.err, "The queue is empty, or nothing in it is selected.")
		return err
	}
	if err := table(s.out, header, rows); err != nil {
		return err
	}
	for _, p := range pages {
		if p.Next != "" {
			if _, err := fmt.Fprintf(s.err, "%s has more: go on with --after %s\n", p.Relay, p.Next); err != nil {
				return err
			}
		}
	}
	return nil
}

// entryRow is one line of the list.
func entryRow(e envelope.Envelope, now time.Time, wide bool) []string {
	most := 60
	if wide {
		most = 1000
	}
	return []string{
		string(e.ID), e.Domain, "<" + e.ReversePath + ">", strconv.Itoa(len(e.Recipients)), strconv.FormatInt(e.Size, 10),
		ago(e.Accepted, now), strconv.Itoa(e.Attempts()), next(e, now), elide(why(e), most),
	}
}

// next is when an entry is to be attempted.
func next(e envelope.Envelope, now time.Time) string {
	switch due := e.Due(); {
	case e.Held != "":
		return "held"
	case !due.After(now):
		return "now"
	default:
		return "in " + ago(now, due)
	}
}

// why is what keeps an entry in the queue: who holds it, or the last reply.
func why(e envelope.Envelope) string {
	if e.Held != "" {
		return e.Held
	}
	var last *envelope.Outcome
	for _, r := range e.Recipients {
		if r.Last != nil && (last == nil || r.Last.At.After(last.At)) {
			last = r.Last
		}
	}
	if last == nil {
		return ""
	}
	return last.Reply.String()
}

func printDetail(s streams, o output, d queueDetail) error {
	if o.structured() {
		return o.write(s.out, d)
	}
	now := time.Now()
	for i, e := range d.Entries {
		if i == 0 {
			if _, err := fmt.Fprintf(s.out, "Message   %s on %s\nFrom      <%s>%s\nAccepted  %s (%s ago), %s, %d octets\n", e.ID, d.Relay,
				printable(e.ReversePath), as(e), e.Accepted.UTC().Format(time.RFC3339), ago(e.Accepted, now), e.Origin, e.Size); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(s.out, "\nFor %s: next attempt %s\n", e.Domain, next(e, now)); err != nil {
			return err
		}
		if err := printRecipients(s, e); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(s.out, "\n%s", printableLines(d.Header))
	return err
}

// as says on whose behalf a message was sent.
func as(e envelope.Envelope) string {
	text := ""
	if e.User != "" {
		text += ", user " + printable(e.User)
	}
	if e.Tenant != "" {
		text += ", signed for " + e.Tenant
	}
	if e.Priority != 0 {
		text += fmt.Sprintf(", priority %d (%s)", e.Priority, e.Class())
	}
	if e.Held != "" {
		text += ", held: " + printable(e.Held)
	}
	return text
}

func printRecipients(s streams, e envelope.Envelope) error {
	var rows [][]string
	for _, r := range e.Recipients {
		row := []string{"  <" + r.Address + ">", strconv.Itoa(r.Attempts), "", "", ""}
		if r.Last != nil {
			row[2], row[3], row[4] = r.Last.NextHop, r.Last.TLS, r.Last.Reply.String()
		}
		rows = append(rows, row)
	}
	return table(s.out, []string{"  RECIPIENT", "TRIES", "NEXT HOP", "TLS", "LAST REPLY"}, rows)
}

// printableLines is printable for a text of several lines.
func printableLines(text string) string {
	var out []byte
	for _, r := range text {
		switch r {
		case '\r':
		case '\n', '\t':
			out = append(out, byte(r))
		default:
			out = append(out, printable(string(r))...)
		}
	}
	return string(out)
}

// acted is the past of each act.
func acted(a admin.Act) string {
	switch a {
	case admin.Flush:
		return "to be attempted now"
	case admin.Hold:
		return "held"
	case admin.Release:
		return "released"
	case admin.Delete:
		return "deleted"
	default:
		return "bounced"
	}
}

func printResults(s streams, o output, act admin.Act, results []actResult, dryRun bool) error {
	did := acted(act)
	if dryRun {
		did = "would be " + strings.TrimPrefix(did, "to be ")
	}
	if o.structured() {
		return o.write(s.out, map[string]any{"relays": results})
	}
	for _, r := range results {
		if _, err := fmt.Fprintf(s.out, "%s: %d recipients in %d entries %s\n", r.Relay, r.Recipients, r.Entries, did); err != nil {
			return err
		}
	}
	return nil
}
