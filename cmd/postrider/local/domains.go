package local

import (
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/claim"
	"github.com/postrider/postrider/controllers/dkimkey"
	"github.com/postrider/postrider/controllers/manifest"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/controllers/sendingdomain"
)

// judge decides over a relay's SendingDomains: whose each domain is, which keys sign and what the status says. The
// relay gets those that are returned.
func (p *Plan) judge(dir string, now time.Time) []render.Domain {
	var accepted []render.Domain
	owners := claim.Owners(p.Domains)
	p.facts = map[types.NamespacedName]sendingdomain.Facts{}
	for i := range p.Domains {
		d := &p.Domains[i]
		owned := owners[d.Spec.Domain] == d
		f := sendingdomain.Facts{Relay: p.Relay, Claimed: !owned}
		var err error
		if f.Sets, err = ensureKeys(keysDir(dir, d), d, now); err != nil {
			f.KeyProblem = "The DKIM keys cannot be kept here: " + err.Error() + "."
		}
		var sign []dkimkey.Key
		d.Status, sign = sendingdomain.Judge(d, f, now)
		p.facts[key(d.Namespace, d.Name)] = f
		if owned {
			accepted = append(accepted, rendered(d, sign))
		}
	}
	return accepted
}

// ensureKeys takes up the keys in dir, and makes new ones when there are none for the algorithms asked for.
func ensureKeys(dir string, d *v1alpha1.SendingDomain, now time.Time) ([]dkimkey.Set, error) {
	sets, err := readKeys(dir)
	if err != nil || !sendingdomain.NeedsKeys(d, sets) {
		return sets, err
	}
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

// rendered is a domain as the relay gets it.
func rendered(d *v1alpha1.SendingDomain, sign []dkimkey.Key) render.Domain {
	r := render.Domain{SendingDomain: d}
	for _, k := range sign {
		r.Keys = append(r.Keys, render.Key{Selector: k.Selector, Algorithm: k.Algorithm, PEM: k.PEM})
	}
	return r
}

// orphans are the SendingDomains whose relay is not in the manifests, or does not admit them.
func orphans(set *manifest.Set) []v1alpha1.SendingDomain {
	return slices.DeleteFunc(slices.Clone(set.Domains), func(d v1alpha1.SendingDomain) bool {
		return slices.ContainsFunc(set.Relays, func(r v1alpha1.MailRelay) bool { return admits(&r, &d) })
	})
}

// admits says whether a SendingDomain names a relay that admits it. Of a namespace, only the name is known here.
func admits(r *v1alpha1.MailRelay, d *v1alpha1.SendingDomain) bool {
	return claim.Relay(d) == key(r.Namespace, r.Name) && claim.Allows(r, d, map[string]string{corev1.LabelMetadataName: d.Namespace})
}

// judgeOrphans gives them their status.
func judgeOrphans(domains []v1alpha1.SendingDomain, now time.Time) []v1alpha1.SendingDomain {
	for i := range domains {
		domains[i].Status, _ = sendingdomain.Judge(&domains[i], sendingdomain.Facts{}, now)
	}
	return domains
}

// keysDir is where the keys of a SendingDomain are kept.
func keysDir(relayDir string, d *v1alpha1.SendingDomain) string {
	if claim.Relay(d).Namespace != d.Namespace {
		return filepath.Join(relayDir, "keys-"+d.Namespace, d.Name)
	}
	return filepath.Join(relayDir, "keys", d.Name)
}
