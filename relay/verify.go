package relay

import (
	"context"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/policy"
	"github.com/postrider/postrider/relay/route"
	"github.com/postrider/postrider/relay/verify"
)

// verify asks the next hop about a recipient that a stranger names, where the route wants that. The postmaster gets
// mail from anyone (RFC 5321 §4.5.1).
func (r *Relay) verify(ctx context.Context, s *settings, client policy.Client, address string) error {
	domain := envelope.DomainOf(address)
	how, wanted := s.router.Verify(domain)
	if !wanted || client.Origin != envelope.Relayed || address == s.config.Relay.Postmaster {
		return nil
	}
	return r.verifier.Verify(ctx, verify.Question{
		Verification: how,
		EHLO:         s.config.Relay.Hostname,
		Address:      address,
		Plan: func(ctx context.Context) (route.Plan, error) {
			return s.router.Plan(ctx, &envelope.Envelope{Domain: domain, Origin: client.Origin})
		},
	})
}
