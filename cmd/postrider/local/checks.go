package local

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/sendingdomain"
	"github.com/postrider/postrider/relay/dns"
)

// lookUp keeps the verdicts on all domains fresh until ctx is done, and puts keys into use once they are published.
func (s *supervisor) lookUp(ctx context.Context) error {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	watched := map[types.NamespacedName]*sendingdomain.Standalone{}
	for {
		for _, c := range s.checks() {
			if watched[c.name] == nil {
				watched[c.name] = &sendingdomain.Standalone{}
			}
			records := watched[c.name].Look(ctx, c.domain, c.facts, resolver, time.Now())
			if ctx.Err() != nil {
				return nil
			}
			if equality.Semantic.DeepEqual(records, c.domain.Status.Records) {
				continue
			}
			if err := s.take(c.name, records); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.again:
			for _, w := range watched {
				w.Again()
			}
		case <-ticker.C:
		}
	}
}

// resolver is one for a single look: what counts is what is published now, not what an answer said before.
func resolver(servers []string) dns.Resolver { return dns.New(dns.Options{Servers: servers}) }

// check is a domain to be looked up when that is due.
type check struct {
	name   types.NamespacedName
	domain *v1alpha1.SendingDomain
	facts  sendingdomain.Facts
}

func (s *supervisor) checks() []check {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []check
	for _, p := range s.plans {
		for i := range p.Domains {
			name := key(p.Domains[i].Namespace, p.Domains[i].Name)
			list = append(list, check{name: name, domain: p.Domains[i].DeepCopy(), facts: p.facts[name]})
		}
	}
	return list
}

// take takes new verdicts, and puts into force what follows from them.
func (s *supervisor) take(name types.NamespacedName, records []v1alpha1.DNSRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.plans {
		for i := range p.Domains {
			if key(p.Domains[i].Namespace, p.Domains[i].Name) == name {
				p.Domains[i].Status.Records = records
			}
		}
	}
	return s.configure()
}
