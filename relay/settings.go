package relay

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/dkim"
	"github.com/postrider/postrider/relay/dns"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/filter"
	"github.com/postrider/postrider/relay/health"
	"github.com/postrider/postrider/relay/policy"
	"github.com/postrider/postrider/relay/reply"
	"github.com/postrider/postrider/relay/route"
)

// settings are a configuration in force, and what was made of it. They never change; a new configuration makes new
// ones, and whoever works with the old ones finishes with them.
type settings struct {
	config   *config.Config
	resolver *dns.Client
	router   *route.Router
	policy   *policy.Policy
	signers  *dkim.Signers
	filters  *filter.Chain
	// suppressions are the rules of the domains that have one.
	suppressions map[string]*config.Suppression
	// weights are those of the domains that have not the default one.
	weights map[string]int
}

// newSettings makes a configuration usable. The resolver of the settings before is kept if the same servers are
// asked, and its cache with it.
func newSettings(c *config.Config, before *settings, limiter policy.Limiter, hops *health.Monitor) (*settings, error) {
	s := &settings{config: c, suppressions: suppressionsOf(c.Domains), weights: weightsOf(c.Domains)}
	routes := route.Options{Config: c, Health: hops.State}
	if before != nil {
		routes.Before = before.router
	}
	servers := c.Relay.DNS.Resolvers
	if before != nil && slices.Equal(servers, before.config.Relay.DNS.Resolvers) {
		s.resolver = before.resolver
	} else {
		s.resolver = dns.New(dns.Options{Servers: servers})
	}
	routes.Resolver = s.resolver
	var err error
	if s.router, err = route.New(routes); err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	s.policy, err = policy.New(policy.Options{
		Relay: c.Relay, Domains: c.Domains, Accounts: c.Accounts, RelaysTo: s.router.RelaysTo, Limiter: limiter,
	})
	if err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	if err := s.policy.OpenRelay(); err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	s.signers = dkim.New(c.Domains, c.Path)
	return s, nil
}

func weightsOf(domains []config.Domain) map[string]int {
	weights := map[string]int{}
	for _, d := range domains {
		if d.Weight != 0 {
			weights[d.Name] = d.Weight
		}
	}
	return weights
}

// retry decides over the next attempt of a message accepted then.
func (s *settings) retry(accepted time.Time, jitter float64) envelope.Retry {
	q := s.config.Relay.Queue
	return envelope.Retry{
		Initial: seconds(q.RetryInitialSeconds),
		Max:     seconds(q.RetryMaxSeconds),
		Expires: accepted.Add(seconds(q.MaxMessageAgeSeconds)),
		Jitter:  jitter,
	}
}

// delayWarning is the age at which a sender is told that mail waits; 0 for never.
func (s *settings) delayWarning() time.Duration {
	return seconds(s.config.Relay.Queue.DelayWarningSeconds)
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// errNoKey is the answer where mail must be signed and cannot be: later, never unsigned.
var errNoKey = reply.Reply{Code: 451, Enhanced: "4.7.5", Text: "The DKIM key of the sender's domain is not ready"}

// signing begins the signatures of mail from a SendingDomain.
func (s *settings) signing(domain string, header []byte, now time.Time) (*dkim.Signing, error) {
	signer, err := s.signers.For(domain)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoKey, err)
	}
	return signer.Sign(header, now)
}

// signed signs a message that was made here, if the domain that it comes from is a SendingDomain.
func (s *settings) signed(message []byte, domain string, now time.Time) ([]byte, error) {
	if !slices.ContainsFunc(s.config.Domains, func(d config.Domain) bool { return d.Sign && d.Name == domain }) {
		return message, nil
	}
	end := bytes.Index(message, []byte("\r\n\r\n")) + 4
	signing, err := s.signing(domain, message[:end], now)
	if err != nil {
		return nil, err
	}
	if _, err := signing.Write(message[end:]); err != nil {
		return nil, err
	}
	fields, err := signing.Finish()
	return append(fields, message...), err
}
