package render

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// addDomains spreads the domains and their keys over the shards. A domain's shard depends on its name alone,
// so that one more domain changes two objects.
func (f *Files) addDomains(in Input) error {
	var shards [config.DomainShards][]config.Domain
	tokens := TakesTokens(in.Relay)
	for _, d := range slices.SortedFunc(slices.Values(in.Domains), byName) {
		hash := shardHash(string(d.Spec.Domain))
		shards[hash%config.DomainShards] = append(shards[hash%config.DomainShards], told(f, domain(d, tokens)))
		for _, k := range d.Keys {
			keys := &f.Keys[hash%KeyShards]
			if *keys == nil {
				*keys = map[string][]byte{}
			}
			(*keys)[KeyFile(d.SendingDomain, k.Selector)] = k.PEM
		}
	}
	for i, shard := range shards {
		if len(shard) == 0 {
			continue
		}
		name := fmt.Sprintf(config.DomainsFile, i)
		data, err := json.Marshal(shard)
		if err != nil {
			return fmt.Errorf("encoding %s: %w", name, err)
		}
		f.Domains[i] = map[string][]byte{name: append(data, '\n')}
	}
	return nil
}

func byName(a, b Domain) int { return cmp.Compare(a.Spec.Domain, b.Spec.Domain) }

// domain is one for the relay. It hears of ServiceAccounts if it takes their tokens.
func domain(d Domain, tokens bool) config.Domain {
	c := config.Domain{
		Name:       string(d.Spec.Domain),
		Sign:       d.Spec.DKIM.Signing != v1alpha1.SigningDisabled,
		Priorities: priorities(d.Spec.Priorities),
	}
	if d.Spec.Weight != config.DefaultWeight {
		c.Weight = int(d.Spec.Weight)
	}
	if s := d.Spec.Suppression; s != nil {
		c.Suppression = &config.Suppression{Action: config.SuppressionAction(s.Action), Seconds: int64(s.Seconds)}
	}
	for _, s := range d.Spec.Senders {
		if s.User != "" {
			c.Users = append(c.Users, string(s.User))
		}
	}
	if tokens {
		c.Accounts, c.AccountsOf = accountsOf(d.SendingDomain)
	}
	for _, k := range d.Keys {
		c.Keys = append(c.Keys, config.DKIMKey{
			Selector:  k.Selector,
			Algorithm: config.Algorithm(k.Algorithm),
			File:      KeyFile(d.SendingDomain, k.Selector),
			Digest:    config.Digest(k.PEM),
		})
	}
	return c
}

func priorities(rules []v1alpha1.PriorityRule) []config.PriorityRule {
	var list []config.PriorityRule
	for _, r := range rules {
		list = append(list, config.PriorityRule{Header: r.Header, Values: r.Values, Priority: int(*r.Priority)})
	}
	return list
}

func shardHash(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()
}

// KeyFile is the file of a key of a SendingDomain. Its name is of fixed length: a domain and a selector together may be
// longer than a file name. Nobody can make two that collide, and that of another SendingDomain for the same domain is
// another: its keys are never taken for this one's.
func KeyFile(d *v1alpha1.SendingDomain, selector string) string {
	sum := sha256.Sum256([]byte(string(d.Spec.Domain) + "\x00" + selector + "\x00" + string(d.UID)))
	return "dkim-" + hex.EncodeToString(sum[:16]) + ".pem"
}
