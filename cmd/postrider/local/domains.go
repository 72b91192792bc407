package local

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/claim"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/dkimkey"
	"github.com/postrider/postrider/controllers/manifest"
	"github.com/postrider/postrider/controllers/render"
)

// signer is a SendingDomain with its keys.
type signer struct {
	domain *v1alpha1.SendingDomain
	// sets are all keys there are, oldest first; problem says why there are none.
	sets    []dkimkey.Set
	problem string
}

// newSigner takes up the keys in dir, and makes new ones when there are none for the algorithms asked for.
func newSigner(d *v1alpha1.SendingDomain, dir string, now time.Time) *signer {
	s := &signer{domain: d}
	if d.Spec.DKIM.Signing == v1alpha1.SigningDisabled {
		return s
	}
	sets, err := readKeys(dir)
	if _, ok := newest(sets, d.Spec.DKIM.Algorithms); err == nil && !ok {
		sets, err = makeKeys(sets, d, dir, now)
	}
	if err != nil {
		s.problem = "The DKIM keys cannot be kept here: " + err.Error() + "."
	}
	s.sets = sets
	return s
}

// newest is the youngest set that has a key for each algorithm, and those keys.
func newest(sets []dkimkey.Set, algorithms []v1alpha1.DKIMAlgorithm) (keys []dkimkey.Key, ok bool) {
	for _, set := range slices.Backward(sets) {
		if keys, ok = set.For(algorithms); ok {
			return keys, true
		}
	}
	return nil, false
}

func makeKeys(sets []dkimkey.Set, d *v1alpha1.SendingDomain, dir string, now time.Time) ([]dkimkey.Set, error) {
	name, err := dkimkey.NewName(now, sets)
	if err != nil {
		return sets, err
	}
	set, err := dkimkey.Generate(name, d.Spec.DKIM.Algorithms)
	if err != nil {
		return sets, err
	}
	return append(sets, set), writeKeys(dir, set)
}

// choose decides which set signs: the newest, once its records are published or if nothing gates it; until then
// the one that has signed so far.
func (s *signer) choose() {
	dkim := &s.domain.Status.DKIM
	dkim.PendingSelector = ""
	if _, kept := s.active(); !kept {
		dkim.ActiveSelector = ""
	}
	keys, ok := newest(s.sets, s.domain.Spec.DKIM.Algorithms)
	if !ok || dkimkey.SetOf(keys[0].Selector) == dkimkey.SetOf(dkim.ActiveSelector) {
		return
	}
	if slices.Contains(s.domain.Spec.DNS.Gates, v1alpha1.GateDKIM) && !published(keys, s.domain.Status.Records) {
		dkim.PendingSelector = keys[0].Selector
		return
	}
	dkim.ActiveSelector = keys[0].Selector
}

// active is the set that signs.
func (s *signer) active() (dkimkey.Set, bool) {
	return dkimkey.Find(s.sets, dkimkey.SetOf(s.domain.Status.DKIM.ActiveSelector))
}

// published says whether DNS holds all of the keys.
func published(keys []dkimkey.Key, records []v1alpha1.DNSRecord) bool {
	for _, k := range keys {
		passes := slices.ContainsFunc(records, func(r v1alpha1.DNSRecord) bool {
			return r.Purpose == v1alpha1.PurposeDKIM && strings.HasPrefix(r.Name, k.Selector+".") && (r.Result == v1alpha1.ResultPass || r.Result == v1alpha1.ResultWeak)
		})
		if !passes {
			return false
		}
	}
	return true
}

// rendered is the domain as the relay gets it, with the keys that sign.
func (s *signer) rendered() render.Domain {
	d := render.Domain{SendingDomain: s.domain}
	set, _ := s.active()
	for _, k := range set.Keys {
		if slices.Contains(s.domain.Spec.DKIM.Algorithms, k.Algorithm) {
			d.Keys = append(d.Keys, render.Key{Selector: k.Selector, Algorithm: k.Algorithm, PEM: k.PEM})
		}
	}
	return d
}

// domains decides over a relay's SendingDomains: whose each domain is, which keys sign and what the status says.
// The relay gets those that are returned.
func (p *Plan) domains(dir string, now time.Time) []render.Domain {
	var accepted []render.Domain
	owners := claim.Owners(p.Domains)
	for i := range p.Domains {
		d := &p.Domains[i]
		s := newSigner(d, keysDir(dir, d), now)
		s.choose()
		owned := owners[d.Spec.Domain] == d
		d.Status.ObservedGeneration = d.Generation
		observed := condition.SendingDomain{
			Domain: d, Now: now, RelayFound: true, Claimed: !owned, KeyProblem: s.problem,
			Records: d.Status.Records, Active: d.Status.DKIM.ActiveSelector != "",
		}
		d.Status.Conditions = observed.Conditions()
		if owned {
			accepted = append(accepted, s.rendered())
		}
	}
	return accepted
}

// orphans are the SendingDomains whose relay is not in the manifests.
func orphans(set *manifest.Set) []v1alpha1.SendingDomain {
	return slices.DeleteFunc(slices.Clone(set.Domains), func(d v1alpha1.SendingDomain) bool {
		return slices.ContainsFunc(set.Relays, func(r v1alpha1.MailRelay) bool {
			return r.Namespace == d.Namespace && r.Name == string(d.Spec.RelayRef.Name)
		})
	})
}

// judgeOrphans gives them their status.
func judgeOrphans(domains []v1alpha1.SendingDomain, now time.Time) []v1alpha1.SendingDomain {
	domains = slices.Clone(domains)
	for i := range domains {
		d := &domains[i]
		d.Status = v1alpha1.SendingDomainStatus{ObservedGeneration: d.Generation, Conditions: d.Status.Conditions}
		observed := condition.SendingDomain{Domain: d, Now: now}
		d.Status.Conditions = observed.Conditions()
	}
	return domains
}

// keysDir is where the keys of a SendingDomain are kept.
func keysDir(relayDir string, d *v1alpha1.SendingDomain) string {
	return filepath.Join(relayDir, "keys", d.Name)
}
