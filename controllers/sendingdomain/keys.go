package sendingdomain

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/apply"
	"github.com/postrider/postrider/controllers/dkimkey"
)

// keys are the sets of DKIM keys that a domain has.
type keys struct {
	// active is the selector that signs, or none; pending is that of a set that waits to be published.
	active, pending string
	// sign are the keys of the active set, wait those of the pending one, for the algorithms of the spec.
	sign, wait []dkimkey.Key
	// problem says why there are no keys, warning what is wrong although there are.
	problem, warning string
}

func (k keys) status() v1alpha1.DKIMStatus {
	return v1alpha1.DKIMStatus{ActiveSelector: k.active, PendingSelector: k.pending}
}

func (p *pass) signs() bool { return p.domain.Spec.DKIM.Signing != v1alpha1.SigningDisabled }

// ensureKeys reads the keys, and makes a set where none has a key for each algorithm. Keys that are there are
// never made again.
func (p *pass) ensureKeys(ctx context.Context) (keys, error) {
	if !p.signs() {
		return keys{}, nil
	}
	data, _, err := p.Secrets.Data(ctx, p.domain.Namespace, p.secretName())
	if err != nil {
		return keys{}, err
	}
	sets, damaged := dkimkey.Parse(data)
	if _, ok := newest(sets, p.domain.Spec.DKIM.Algorithms); !ok {
		if sets, damaged, err = p.addSet(ctx); err != nil {
			active := p.domain.Status.DKIM.ActiveSelector
			return keys{active: active, problem: sentence(err.Error())}, err
		}
	}
	k := choose(sets, p.domain.Spec.DKIM.Algorithms, p.domain.Status.DKIM.ActiveSelector)
	if damaged != nil {
		k.warning = fmt.Sprintf("The Secret %s holds what is no key: %v. Mend it, or take it out.", p.secretName(), damaged)
	}
	return k, nil
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

func (p *pass) secretName() string { return dkimkey.SecretName(p.domain.Name) }

// newest is the youngest set that has a key for each algorithm.
func newest(sets []dkimkey.Set, algorithms []v1alpha1.DKIMAlgorithm) (dkimkey.Set, bool) {
	for _, s := range slices.Backward(sets) {
		if _, complete := s.For(algorithms); complete {
			return s, true
		}
	}
	return dkimkey.Set{}, false
}

// choose finds the active set among those there are, and the one to follow it.
func choose(sets []dkimkey.Set, algorithms []v1alpha1.DKIMAlgorithm, active string) keys {
	k := keys{active: active}
	if set, ok := dkimkey.Find(sets, dkimkey.SetOf(active)); ok {
		for _, a := range algorithms {
			found, _ := set.For([]v1alpha1.DKIMAlgorithm{a})
			k.sign = append(k.sign, found...)
		}
	} else if active != "" {
		k.warning = fmt.Sprintf("The Secret does not hold the keys of %s any more. The relay goes on with its copy until others are published.", active)
	}
	if next, ok := newest(sets, algorithms); ok && next.Name != dkimkey.SetOf(active) {
		k.wait, _ = next.For(algorithms)
		k.pending = k.wait[0].Selector
	}
	return k
}

// addSet makes a set of keys and stores it beside those there are. The Secret is read anew first: keys must not
// be made twice.
func (p *pass) addSet(ctx context.Context) (sets []dkimkey.Set, damaged error, err error) {
	data, found, err := p.Secrets.Fresh(ctx, p.domain.Namespace, p.secretName())
	if err != nil {
		return nil, nil, err
	}
	sets, damaged = dkimkey.Parse(data)
	if _, ok := newest(sets, p.domain.Spec.DKIM.Algorithms); ok {
		return sets, damaged, nil
	}
	// A selector that was ever shown may be published: it never gets another key, not even when its own is lost.
	shown := p.domain.Status.DKIM
	taken := append(slices.Clone(sets), dkimkey.Set{Name: dkimkey.SetOf(shown.ActiveSelector)}, dkimkey.Set{Name: dkimkey.SetOf(shown.PendingSelector)})
	name, err := dkimkey.NewName(p.now, taken)
	if err != nil {
		return nil, nil, err
	}
	set, err := p.generate(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if err := p.store(ctx, set, found); err != nil {
		return nil, nil, fmt.Errorf("storing the DKIM keys in Secret %s: %w", p.secretName(), err)
	}
	p.Secrets.Forget(p.domain.Namespace, p.secretName())
	return append(sets, set), damaged, nil
}

// generate makes a set. An RSA key takes a core for 60 ms: when thousands are wanted, half of the cores are left to all else.
func (p *pass) generate(ctx context.Context, name string) (dkimkey.Set, error) {
	select {
	case p.makers <- struct{}{}:
	case <-ctx.Done():
		return dkimkey.Set{}, ctx.Err()
	}
	defer func() { <-p.makers }()
	return dkimkey.Generate(name, p.domain.Spec.DKIM.Algorithms)
}

// store writes the keys of a set; what else the Secret holds stays. Creating fails if the Secret has come up
// meanwhile, and is then tried again with what it holds.
func (p *pass) store(ctx context.Context, set dkimkey.Set, exists bool) error {
	owner := client.FieldOwner(apply.FieldOwner)
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.domain.Namespace, Name: p.secretName(),
			Labels:          map[string]string{"app.kubernetes.io/managed-by": "postrider"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.domain, v1alpha1.GroupVersion.WithKind("SendingDomain"))},
		},
		Data: set.Encode(),
	}
	if !exists {
		return p.Client.Create(ctx, s, owner)
	}
	patch, err := json.Marshal(map[string]any{"data": maps.Clone(s.Data)})
	if err != nil {
		return err
	}
	return p.Client.Patch(ctx, s, client.RawPatch(types.MergePatchType, patch), owner)
}

// activate lets the pending keys sign once their records have been seen, or at once where nothing gates.
func (p *pass) activate() {
	if len(p.keys.wait) == 0 {
		return
	}
	gated := slices.Contains(p.domain.Spec.DNS.Gates, v1alpha1.GateDKIM)
	if gated && !p.published(p.keys.wait) {
		return
	}
	p.keys.active, p.keys.sign = p.keys.pending, p.keys.wait
	p.keys.pending, p.keys.wait = "", nil
}

// published says that DNS was seen to hold all of the keys.
func (p *pass) published(list []dkimkey.Key) bool {
	for _, k := range list {
		seen := slices.ContainsFunc(p.records, func(r v1alpha1.DNSRecord) bool {
			return r.Name == dkimName(k, p.domain) && (r.Result == v1alpha1.ResultPass || r.Result == v1alpha1.ResultWeak)
		})
		if !seen {
			return false
		}
	}
	return true
}

func dkimName(k dkimkey.Key, d *v1alpha1.SendingDomain) string {
	return k.Selector + "._domainkey." + string(d.Spec.Domain)
}
