package render

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// A relay that takes no tokens hears nothing of ServiceAccounts: what happens to them changes nothing for it.
func TestNoTokensNoAccounts(t *testing.T) {
	in := Input{
		Relay:     parse[v1alpha1.MailRelay](t, smallRelay),
		Domains:   []Domain{domainOf(t, "shop", `{domain: shop.example}`), domainOf(t, "acme", `{domain: acme.example, senders: [{serviceAccount: {name: a}}]}`)},
		Accounts:  map[string]types.UID{"system:serviceaccount:mail:a": "uid-1"},
		TokenKeys: []byte("keys"),
	}
	for name, data := range mustRender(t, in).All() {
		if strings.Contains(string(data), "serviceaccount") || strings.HasPrefix(name, "accounts") || name == TokenKeysFile {
			t.Errorf("%s: %s", name, data)
		}
	}
}

// An account that is made, deleted or made again changes the configuration.
func TestAccountsChangeTheConfiguration(t *testing.T) {
	in := fullInput(t)
	index := mustRender(t, in).Next(config.Index{})
	for name, change := range map[string]func(){
		"made again": func() { in.Accounts["system:serviceaccount:mail:checkout"] = "uid-9" },
		"deleted":    func() { delete(in.Accounts, "system:serviceaccount:mail:checkout") },
		"made":       func() { in.Accounts["system:serviceaccount:mail:new"] = "uid-10" },
		"other keys": func() { in.TokenKeys = []byte("other keys") },
	} {
		change()
		next := mustRender(t, in).Next(index)
		if next.Generation != index.Generation+1 {
			t.Errorf("%s: generation %d after %d", name, next.Generation, index.Generation)
		}
		index = next
	}
}
