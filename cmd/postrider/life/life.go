// Package life owns the words in which an event of a message's life is told to people, on a terminal or in a page. It refuses
// to know where the event comes from, and to make it safe to show: that differs by place.
package life

import (
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/event"
)

// Detail is what an event tells besides what happened to whom. One that is not the message's own tells whose it is. What
// strangers said is in it as they said it.
func Detail(e *event.Event, own bool) string {
	var parts []string
	add := func(label, value string) {
		if value != "" {
			parts = append(parts, label+value)
		}
	}
	switch e.Type {
	case event.Accepted:
		add("from ", "<"+e.From+">")
		add("listener ", e.Listener)
		add("client ", e.Client)
		add("user ", e.User)
		add("for ", e.Tenant)
		add("", e.TLS)
		add("", strconv.FormatInt(e.Size, 10)+" octets")
	case event.HandedOut:
		add("to ", e.Peer)
	case event.HandedIn:
		add("from ", e.Peer)
	case event.Reported:
		add("", e.Reason)
		if own {
			add("by DSN ", e.Reply)
		} else {
			add("about message ", e.SpoolID)
		}
	default:
		add("", e.Reply)
		add("next hop ", e.NextHop)
		add("", e.TLS)
		add("", e.Reason)
		if e.Due != nil {
			add("next ", e.Due.UTC().Format(time.RFC3339))
		}
	}
	return strings.Join(parts, ", ")
}
