package render

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// TokenKeysFile holds what tokens of ServiceAccounts are verified with. The operator reads it back to keep it.
const TokenKeysFile = "token-keys.json"

// TakesTokens says whether a listener of a relay takes tokens of ServiceAccounts.
func TakesTokens(relay *v1alpha1.MailRelay) bool {
	_, takes := TokenField(relay)
	return takes
}

// TokenField is the first field by which a relay takes tokens of ServiceAccounts, such as
// spec.listeners[0].auth.serviceAccounts.
func TokenField(relay *v1alpha1.MailRelay) (field string, takes bool) {
	for i, l := range relay.Spec.Listeners {
		if l.Auth != nil && l.Auth.ServiceAccounts != nil {
			return fmt.Sprintf("spec.listeners[%d].auth.serviceAccounts", i), true
		}
	}
	return "", false
}

// Subject is the name of a ServiceAccount in its tokens, in trace fields and in logs.
func Subject(account types.NamespacedName) string {
	return subjects(account.Namespace) + account.Name
}

// subjects is what the names of a namespace's ServiceAccounts begin with. A namespace has no colon in its name.
func subjects(namespace string) string { return "system:serviceaccount:" + namespace + ":" }

// Senders are the ServiceAccounts that a SendingDomain names, and the namespace all of whose ServiceAccounts it
// admits: its own if it does not say who may send, else none.
func Senders(d *v1alpha1.SendingDomain) (named []types.NamespacedName, namespace string) {
	if d.Spec.Senders == nil {
		return nil, d.Namespace
	}
	for _, s := range d.Spec.Senders {
		if s.ServiceAccount == nil {
			continue
		}
		account := types.NamespacedName{Namespace: string(s.ServiceAccount.Namespace), Name: string(s.ServiceAccount.Name)}
		if account.Namespace == "" {
			account.Namespace = d.Namespace
		}
		named = append(named, account)
	}
	return named, ""
}

func accountsOf(d *v1alpha1.SendingDomain) (accounts []string, prefix string) {
	named, namespace := Senders(d)
	for _, account := range named {
		accounts = append(accounts, Subject(account))
	}
	if namespace != "" {
		prefix = subjects(namespace)
	}
	return accounts, prefix
}

// addAccounts spreads the accounts over the shards of the domains, and adds the keys of their tokens.
func (f *Files) addAccounts(in Input) error {
	if !TakesTokens(in.Relay) {
		return nil
	}
	if in.TokenKeys != nil {
		f.Material[TokenKeysFile] = in.TokenKeys
	}
	var shards [config.DomainShards]map[string]types.UID
	for subject, uid := range in.Accounts {
		shard := &shards[shardHash(subject)%config.DomainShards]
		if *shard == nil {
			*shard = map[string]types.UID{}
		}
		(*shard)[subject] = uid
	}
	for i, shard := range shards {
		if len(shard) == 0 {
			continue
		}
		name := fmt.Sprintf(config.AccountsFile, i)
		data, err := json.Marshal(shard) // sorted by name
		if err != nil {
			return fmt.Errorf("encoding %s: %w", name, err)
		}
		if f.Domains[i] == nil {
			f.Domains[i] = map[string][]byte{}
		}
		f.Domains[i][name] = append(data, '\n')
	}
	return nil
}
