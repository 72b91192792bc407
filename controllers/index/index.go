// Package index owns the field indexes by which objects that refer to others are found in the caches.
package index

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Fields that are indexed.
const (
	// DomainRelay is the MailRelay that a SendingDomain refers to.
	DomainRelay = "spec.relayRef.name"
	// PolicyTarget is what a RateLimitPolicy refers to, as KIND/NAME.
	PolicyTarget = "spec.targetRefs"
)

// Target is the value of PolicyTarget.
func Target(kind v1alpha1.TargetKind, name string) string { return string(kind) + "/" + name }

// Register adds the indexes to the caches.
func Register(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &v1alpha1.SendingDomain{}, DomainRelay, relayOf); err != nil {
		return fmt.Errorf("indexing %s: %w", DomainRelay, err)
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
	return []string{string(d.Spec.RelayRef.Name)}
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
