package policy

import (
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/message"
)

func TestPriorityOfClients(t *testing.T) {
	five, minus := 5, -5
	for _, tc := range []struct {
		origin envelope.Origin
		asked  *int
		rules  int
		want   int
	}{
		{envelope.Submitted, nil, 0, 0}, {envelope.Submitted, nil, 3, 3}, {envelope.Submitted, &five, 3, 5},
		{envelope.Trusted, &five, 0, 5}, {envelope.Trusted, &minus, 3, -5},
		{envelope.Relayed, &five, 0, 0}, {envelope.Relayed, &minus, 0, -5}, {envelope.Relayed, nil, 0, 0},
	} {
		if got := Priority(Client{Origin: tc.origin}, tc.asked, tc.rules); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}

func TestPriorityRules(t *testing.T) {
	rules := []config.PriorityRule{
		{Header: "X-Kind", Values: []string{"password-*", "*-code", "a*b*c"}, Priority: 5},
		{Header: "precedence", Values: []string{"bulk", "list"}, Priority: -5},
		{Header: "List-Unsubscribe", Priority: -3},
	}
	for header, want := range map[string]int{
		"Subject: x\r\n":                                 0,
		"Precedence: BULK\r\n":                           -5,
		"Precedence: bulky\r\n":                          0,
		"List-Unsubscribe:\r\n":                          -3,
		"List-Unsubscribe: <x>\r\nPrecedence: list\r\n":  -5,
		"X-KIND: Password-Reset\r\nPrecedence: bulk\r\n": 5,
		"X-Kind: none\r\nX-Kind: login-code\r\n":         5,
		"X-Kind: -code\r\n":                              5,
		"X-Kind: code\r\n":                               0,
		"X-Kind: a1b2c\r\n":                              5,
		"X-Kind: a1c2b\r\n":                              0,
		"X-Kind: password-\r\n folded\r\n":               5,
		"X-Kind: reset-password-\r\n":                    0,
		"Subject: Precedence: bulk\r\n":                  0,
	} {
		fields, err := message.Fields([]byte(header))
		if got := priorityOf(fields, rules); err != nil || got != want {
			t.Errorf("%q: %d, want %d; %v", header, got, want, err)
		}
	}
}
