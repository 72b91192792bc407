package mailrelay

import (
	"context"
	"crypto/rand"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/pki"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay/config"
)

// facts are what gathering found out and only the status is about.
type facts struct {
	secrets      []condition.Secret
	certificates []condition.Certificate
}

// gather reads everything that the configuration is made of, and what there is of the relay's objects.
func (p *pass) gather(ctx context.Context) (render.Input, facts, error) {
	in := render.Input{Relay: p.relay, ClusterDomain: p.ClusterDomain}
	if err := p.look(ctx); err != nil {
		return in, facts{}, err
	}
	own, _, err := p.Secrets.Data(ctx, p.relay.Namespace, desired.MaterialName(p.relay.Name))
	if err != nil {
		return in, facts{}, err
	}
	p.seen.index = p.indexOf(own)
	material, f, err := p.material(ctx, own)
	if err != nil {
		return in, facts{}, err
	}
	in.Material, in.Cordoned, in.Handoff = material, p.cordoned(), p.handoff()
	if in.Givers, err = p.givers(ctx); err != nil {
		return in, facts{}, err
	}
	in.Fences = p.fences()
	if in.Domains, err = p.domains(ctx); err != nil {
		return in, facts{}, err
	}
	if err := p.tokens(ctx, &in, own, &f); err != nil {
		return in, facts{}, err
	}
	if in.Policies, err = p.policies(ctx, in.Domains); err != nil {
		return in, facts{}, err
	}
	p.divide(&in, own)
	in.Admin, err = p.admin(ctx, own)
	return in, f, err
}

// look reads the relay's objects from the caches.
func (p *pass) look(ctx context.Context) error {
	statefulSet, service, configMap := &appsv1.StatefulSet{}, &corev1.Service{}, &corev1.ConfigMap{}
	var err error
	if p.seen.statefulSet, err = get(ctx, p.Client, statefulSet, p.relay.Namespace, p.relay.Name); err != nil {
		return err
	}
	if p.seen.service, err = get(ctx, p.Client, service, p.relay.Namespace, p.relay.Name); err != nil {
		return err
	}
	if p.seen.config, err = get(ctx, p.Client, configMap, p.relay.Namespace, p.relay.Name+"-config"); err != nil {
		return err
	}
	selector := []client.ListOption{client.InNamespace(p.relay.Namespace), client.MatchingLabels(desired.Selector(p.relay.Name))}
	var claims corev1.PersistentVolumeClaimList
	if err := p.Client.List(ctx, &claims, selector...); err != nil {
		return fmt.Errorf("listing volume claims: %w", err)
	}
	p.seen.claims = claims.Items
	p.recall()
	var pods corev1.PodList
	if err := p.Client.List(ctx, &pods, selector...); err != nil {
		return fmt.Errorf("listing pods: %w", err)
	}
	goes := func(ordinal int32) bool { return ordinal >= p.keep() || p.doomed(ordinal) }
	p.seen.pods = podsOf(pods.Items, p.relay.Name, goes, p.revision())
	steer(p.relay, p.seen.pods)
	p.forgetServing()
	return p.lookHeir(ctx)
}

// get reads an object; nil if there is none.
func get[T client.Object](ctx context.Context, c client.Reader, object T, namespace, name string) (T, error) {
	var none T
	switch err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object); {
	case apierrors.IsNotFound(err):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("reading %T %s/%s: %w", object, namespace, name, err)
	}
	return object, nil
}

// keep is how many pods are to stay.
func (p *pass) keep() int32 {
	if p.relay.DeletionTimestamp != nil {
		return 0
	}
	return p.relay.Spec.Replicas
}

// revision is that of the newest pod template; empty while the StatefulSet's controller has not seen it.
func (p *pass) revision() string {
	s := p.seen.statefulSet
	if s == nil || s.Status.ObservedGeneration < s.Generation {
		return ""
	}
	return s.Status.UpdateRevision
}

// current is how many pods there are to decide about: as many as the StatefulSet has been told to run, and as many as
// there are claims that may hold mail, be they left behind by a relay of this name or by a StatefulSet that somebody else
// scaled down: what they hold is handed over or delivered first.
func (p *pass) current() int32 {
	n := p.keep()
	if s := p.seen.statefulSet; s != nil && s.Spec.Replicas != nil {
		n = *s.Spec.Replicas
	}
	for i := range p.seen.claims {
		c := &p.seen.claims[i]
		if ordinal, ok := ordinalOf(c.Name, desired.ClaimPrefix(p.relay.Name)); ok && p.lost(c) {
			n = max(n, ordinal+1)
		}
	}
	return n
}

// cordoned names the pods that take no new mail, whether they are there at the moment or not.
func (p *pass) cordoned() []string {
	var names []string
	for ordinal := range max(p.keep(), p.current()) {
		if ordinal >= p.keep() || p.doomed(ordinal) || steeredBy(p.relay.Annotations, p.podName(ordinal)).cordoned {
			names = append(names, p.podName(ordinal))
		}
	}
	return names
}

// indexOf is the index that the pods are given. Where it is lost, the generation goes on from what pods have
// reported, so that it never falls.
func (p *pass) indexOf(own map[string][]byte) config.Index {
	if index, err := render.DecodeIndex(own[config.IndexFile]); err == nil {
		return index
	}
	var index config.Index
	for _, s := range p.relay.Status.Pods {
		if s.ConfigGeneration != nil {
			index.Generation = max(index.Generation, *s.ConfigGeneration)
		}
	}
	return index
}

// policies are all of the relay's namespace and of those that its domains are in: rendering picks those that concern the
// relay, and holds those of another namespace to the domains there.
func (p *pass) policies(ctx context.Context, domains []render.Domain) ([]v1alpha1.RateLimitPolicy, error) {
	namespaces := map[string]bool{p.relay.Namespace: true}
	for _, d := range domains {
		namespaces[d.Namespace] = true
	}
	var active []v1alpha1.RateLimitPolicy
	for namespace := range namespaces {
		var list v1alpha1.RateLimitPolicyList
		if err := p.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("listing RateLimitPolicies: %w", err)
		}
		for _, policy := range list.Items {
			if policy.DeletionTimestamp == nil {
				active = append(active, policy)
			}
		}
	}
	return active, nil
}

// admin is the pods' certificate: the one they have, while it is good.
func (p *pass) admin(ctx context.Context, own map[string][]byte) (*render.Admin, error) {
	authority, err := p.Identity.Authority(ctx)
	if err != nil {
		return nil, err
	}
	had := pki.Leaf{Certificate: own[render.AdminCertFile], Key: own[render.AdminKeyFile]}
	leaf, _, err := authority.Ensure(had, pki.RelayRequest(p.relay.Namespace, p.relay.Name), p.now)
	if err != nil {
		return nil, err
	}
	token := own[render.AdminTokenFile]
	if token == nil {
		token = []byte(rand.Text())
	}
	return &render.Admin{Cert: leaf.Certificate, Key: leaf.Key, ServerName: pki.ServerName(p.relay.Namespace, p.relay.Name), ClientCA: authority.Bundle(), MetricsToken: token}, nil
}
