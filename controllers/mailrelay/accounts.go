package mailrelay

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/index"
	"github.com/postrider/postrider/controllers/render"
)

// tokens adds what a relay needs to verify tokens, if it takes any. Where the API server does not show its keys, the
// last ones that the pods have stay.
func (p *pass) tokens(ctx context.Context, in *render.Input, own map[string][]byte, f *facts) error {
	field, takes := render.TokenField(p.relay)
	if !takes {
		return nil
	}
	var err error
	if in.Accounts, err = p.admitted(ctx, in.Domains); err != nil {
		return err
	}
	if in.TokenKeys, err = p.TokenKeys.Encoded(ctx); err == nil {
		return nil
	}
	if in.TokenKeys == nil {
		in.TokenKeys = own[render.TokenKeysFile]
	}
	f.secrets = append(f.secrets, condition.Secret{
		Use: condition.UseUsers, Kept: in.TokenKeys != nil, Missing: true,
		Problem: sentence(fmt.Sprintf("%s: tokens cannot be verified with the newest keys: %v", field, err)),
	})
	return nil
}

// admitted are the ServiceAccounts there are of those that the domains admit.
func (p *pass) admitted(ctx context.Context, domains []render.Domain) (map[string]types.UID, error) {
	accounts, whole := map[string]types.UID{}, map[string]bool{}
	for _, d := range domains {
		named, namespace := render.Senders(d.SendingDomain)
		for _, account := range named {
			uid, err := p.Accounts.UID(ctx, account)
			if err != nil {
				return nil, err
			}
			if uid != "" {
				accounts[render.Subject(account)] = uid
			}
		}
		if namespace == "" || whole[namespace] {
			continue
		}
		whole[namespace] = true
		all, err := p.Accounts.UIDs(ctx, namespace)
		if err != nil {
			return nil, err
		}
		for name, uid := range all {
			accounts[render.Subject(types.NamespacedName{Namespace: namespace, Name: name})] = uid
		}
	}
	return accounts, nil
}

// refreshTokenKeys has the keys fetched anew when a pod was shown a token whose key it does not have.
func (p *pass) refreshTokenKeys() {
	for _, s := range p.statuses {
		if s.TokenKeysWanted {
			p.refresh = p.TokenKeys.Want()
			return
		}
	}
}

// relaysOfAccount are the relays of the SendingDomains that admit a ServiceAccount.
func (r *Reconciler) relaysOfAccount(ctx context.Context, account types.NamespacedName) []ctrl.Request {
	var requests []ctrl.Request
	for _, admits := range []string{account.String(), account.Namespace + "/"} {
		var list v1alpha1.SendingDomainList
		if r.Client.List(ctx, &list, client.MatchingFields{index.DomainAccount: admits}) != nil {
			continue // the next poll sees it
		}
		for i := range list.Items {
			requests = append(requests, relayOfDomain(ctx, &list.Items[i])...)
		}
	}
	return requests
}
