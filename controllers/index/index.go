// Package index owns the field indexes by which objects that refer to others are found in the caches.
package index

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/claim"
	"github.com/postrider/postrider/controllers/render"
)

// Fields that are indexed.
const (
	// DomainRelay is the MailRelay that a SendingDomain refers to, as NAMESPACE/NAME.
	DomainRelay = "spec.relayRef"
	// DomainClaim is that with the domain behind it; see Claim.
	DomainClaim = "spec.domain"
	// DomainAccount is a ServiceAccount that a SendingDomain admits, as NAMESPACE/NAME, or all of a namespace's, as
	// NAMESPACE/.
	DomainAccount = "spec.senders.serviceAccount"
	// PolicyTarget is what a RateLimitPolicy refers to, as KIND/NAME.
	PolicyTarget = "spec.targetRefs"
)

// Target is the value of PolicyTarget.
func Target(kind v1alpha1.TargetKind, name string) string { return string(kind) + "/" + name }

// Claim is the value of DomainClaim.
func Claim(relay types.NamespacedName, domain v1alpha1.DomainName) string {
	return relay.String() + "/" + string(domain)
}

// Register adds the indexes to the caches.
func Register(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &v1alpha1.SendingDomain{}, DomainRelay, relayOf); err != nil {
		return fmt.Errorf("indexing %s: %w", DomainRelay, err)
	}
	if err := indexer.IndexField(ctx, &v1alpha1.SendingDomain{}, DomainClaim, claimOf); err != nil {
		return fmt.Errorf("indexing %s: %w", DomainClaim, err)
	}
	if err := indexer.IndexField(ctx, &v1alpha1.SendingDomain{}, DomainAccount, accountsOf); err != nil {
		return fmt.Errorf("indexing %s: %w", DomainAccount, err)
	}
	if err := indexer.IndexField(ctx, &v1alpha1.RateLimitPolicy{}, PolicyTarget, targetsOf); err != nil {
		return fmt.Errorf("indexing %s: %w", PolicyTarget, err)
	}
	return nil
}

func relayOf(o client.Object) []string {
	d, ok := o.(*v1alpha1.SendingDomain)
	if !ok {
		return nil
	}
	return []string{claim.Relay(d).String()}
}

func claimOf(o client.Object) []string {
	d, ok := o.(*v1alpha1.SendingDomain)
	if !ok {
		return nil
	}
	return []string{Claim(claim.Relay(d), d.Spec.Domain)}
}

func accountsOf(o client.Object) []string {
	d, ok := o.(*v1alpha1.SendingDomain)
	if !ok {
		return nil
	}
	named, namespace := render.Senders(d)
	var accounts []string
	if namespace != "" {
		accounts = append(accounts, namespace+"/")
	}
	for _, account := range named {
		accounts = append(accounts, account.String())
	}
	return accounts
}

func targetsOf(o client.Object) []string {
	p, ok := o.(*v1alpha1.RateLimitPolicy)
	if !ok {
		return nil
	}
	var targets []string
	for _, ref := range p.Spec.TargetRefs {
		targets = append(targets, Target(ref.Kind, string(ref.Name)))
	}
	return targets
}
