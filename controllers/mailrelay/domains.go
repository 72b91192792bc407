package mailrelay

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/claim"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/dkimkey"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay/config"
)

// domains are the SendingDomains that have their domain on this relay, with the keys that sign.
func (p *pass) domains(ctx context.Context) ([]render.Domain, error) {
	admitted, err := p.Admission.Domains(ctx, p.relay)
	if err != nil {
		return nil, err
	}
	admitted = slices.DeleteFunc(admitted, func(d v1alpha1.SendingDomain) bool { return d.DeletionTimestamp != nil })
	var domains []render.Domain
	all := map[types.UID]signing{}
	for _, d := range claim.Owners(admitted) {
		signs, err := p.signing(ctx, d)
		if err != nil {
			return nil, err
		}
		all[d.UID] = signs
		domains = append(domains, render.Domain{SendingDomain: d, Keys: signs.keys})
	}
	p.memory.signing = all
	return domains, nil
}

// signing are the keys of the active set. Where the Secret does not have them any more, those that signed last stay:
// mail is never unsigned because a Secret is gone.
func (p *pass) signing(ctx context.Context, d *v1alpha1.SendingDomain) (signing, error) {
	active, last := dkimkey.SetOf(d.Status.DKIM.ActiveSelector), p.memory.signing[d.UID]
	switch {
	case active == "" || d.Spec.DKIM.Signing == v1alpha1.SigningDisabled:
		return signing{}, nil
	case last.set == active && slices.Equal(last.algorithms, d.Spec.DKIM.Algorithms):
		return last, nil
	}
	keys, err := p.storedKeys(ctx, d, active)
	if err != nil || len(keys) > 0 {
		return signing{set: active, algorithms: d.Spec.DKIM.Algorithms, keys: keys}, err
	}
	log.FromContext(ctx).Info("the Secret lacks the DKIM keys that sign; the last ones stay in use", "sendingDomain", d.Name, "set", active)
	if keys = last.keys; len(keys) == 0 {
		keys, err = p.lastKeys(ctx, d)
	}
	return signing{keys: keys}, err
}

// storedKeys are those of a set as the Secret has them; none when it has not.
func (p *pass) storedKeys(ctx context.Context, d *v1alpha1.SendingDomain, active string) ([]render.Key, error) {
	data, _, err := p.Secrets.Fresh(ctx, d.Namespace, dkimkey.SecretName(d.Name))
	if err != nil {
		return nil, err
	}
	sets, _ := dkimkey.Parse(data) // what cannot be read is reported with the SendingDomain
	set, ok := dkimkey.Find(sets, active)
	if !ok {
		return nil, nil
	}
	// The set may be older than the list of algorithms: it signs with what both have, until another is active.
	var keys []render.Key
	for _, a := range d.Spec.DKIM.Algorithms {
		found, _ := set.For([]v1alpha1.DKIMAlgorithm{a})
		for _, k := range found {
			keys = append(keys, render.Key{Selector: k.Selector, Algorithm: k.Algorithm, PEM: k.PEM})
		}
	}
	return keys, nil
}

// lastKeys finds the keys of a domain in the configuration that the pods have.
func (p *pass) lastKeys(ctx context.Context, d *v1alpha1.SendingDomain) ([]render.Key, error) {
	described, err := p.describedKeys(ctx, string(d.Spec.Domain))
	if err != nil {
		return nil, err
	}
	described = slices.DeleteFunc(described, func(k config.DKIMKey) bool {
		return k.File != render.KeyFile(d, k.Selector) // of another SendingDomain that had the domain before
	})
	if len(described) == 0 {
		return nil, nil
	}
	var keys []render.Key
	for shard := range render.KeyShards {
		data, _, err := p.Secrets.Data(ctx, p.relay.Namespace, fmt.Sprintf("%s-keys-%02d", p.relay.Name, shard))
		if err != nil {
			return nil, err
		}
		for _, k := range described {
			if content, ok := data[k.File]; ok {
				keys = append(keys, render.Key{Selector: k.Selector, Algorithm: v1alpha1.DKIMAlgorithm(k.Algorithm), PEM: content})
			}
		}
	}
	return keys, nil
}

// describedKeys are a domain's keys as its shard of the configuration names them.
func (p *pass) describedKeys(ctx context.Context, domain string) ([]config.DKIMKey, error) {
	var list corev1.ConfigMapList
	err := p.Client.List(ctx, &list, client.InNamespace(p.relay.Namespace), client.MatchingLabels(desired.Selector(p.relay.Name)))
	if err != nil {
		return nil, fmt.Errorf("listing ConfigMaps: %w", err)
	}
	for _, c := range list.Items {
		for name, content := range c.Data {
			var shard []config.Domain
			if name == config.RelayFile || json.Unmarshal([]byte(content), &shard) != nil {
				continue
			}
			for _, d := range shard {
				if d.Name == domain {
					return d.Keys, nil
				}
			}
		}
	}
	return nil, nil
}
