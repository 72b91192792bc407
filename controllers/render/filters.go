package render

import (
	"cmp"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// filterSeconds is how long a filter may take that does not say so.
const filterSeconds = 10

func filter(f v1alpha1.Filter) config.Filter {
	c := config.Filter{
		Name:           f.Name,
		TimeoutSeconds: int(cmp.Or(f.TimeoutSeconds, filterSeconds)),
		OnFailure:      onFailure(f),
	}
	if f.DNSBL != nil {
		c.DNSBL = &config.DNSBL{
			Zones:  plain(f.DNSBL.Zones),
			Action: config.DNSBLAction(cmp.Or(f.DNSBL.Action, v1alpha1.DNSBLReject)),
		}
	}
	if f.Rspamd != nil {
		c.Rspamd = &config.Rspamd{URL: string(f.Rspamd.URL)}
		if f.Rspamd.SecretRef != nil {
			c.Rspamd.PasswordFile = Need{Kind: KindRspamd, Secret: string(f.Rspamd.SecretRef.Name)}.FileNames()[0]
		}
	}
	if f.Milter != nil {
		c.Milter = &config.Milter{Host: string(f.Milter.Host), Port: int(f.Milter.Port)}
	}
	return c
}

// onFailure fills in what no answer means. A block list is a stranger's and knows clients only: its outage must not
// stop all mail. What rspamd and milters look for, nobody else looks for.
func onFailure(f v1alpha1.Filter) config.OnFailure {
	switch {
	case f.OnFailure != "":
		return config.OnFailure(f.OnFailure)
	case f.DNSBL != nil:
		return config.FailAccept
	default:
		return config.FailDefer
	}
}

func webhook(w v1alpha1.Webhook) config.Webhook {
	c := config.Webhook{Name: w.Name, URL: string(w.URL), Types: plain(w.Types)}
	if w.SecretRef != nil {
		c.SecretFile = Need{Kind: KindWebhook, Secret: string(w.SecretRef.Name)}.FileNames()[0]
	}
	return c
}
