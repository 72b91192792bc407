package policy

import (
	"strings"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/message"
)

// Priority is that of a message (RFC 6710 §4.1): the one that the client asked for, nil for none, else what the
// sender's rules say. A stranger may lower its mail and not raise it.
func Priority(c Client, asked *int, rules int) int {
	switch {
	case asked == nil:
		return rules
	case c.Origin == envelope.Relayed:
		return min(*asked, 0)
	default:
		return *asked
	}
}

// priorityOf is what the first rule says that matches a header.
func priorityOf(fields []message.Field, rules []config.PriorityRule) int {
	for _, rule := range rules {
		for _, f := range fields {
			if f.Is(rule.Header) && holds(rule.Values, f.Value()) {
				return rule.Priority
			}
		}
	}
	return 0
}

// holds says whether a value matches one of the patterns; without any, every value does.
func holds(patterns []string, value string) bool {
	for _, p := range patterns {
		if matches(strings.ToLower(p), strings.ToLower(value)) {
			return true
		}
	}
	return len(patterns) == 0
}

// matches says whether a value is as a pattern says, in which "*" stands for anything.
func matches(pattern, value string) bool {
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(value, parts[0])
	last := len(parts) - 1
	if last == 0 || !ok {
		return ok && rest == ""
	}
	for _, part := range parts[1:last] {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, parts[last])
}
