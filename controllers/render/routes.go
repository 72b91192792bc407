package render

import (
	"cmp"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// lastResort is the name of the route that is added for mail that no route matches. No route of a MailRelay can
// have it.
const lastResort = "*"

// What a route has that leaves it out.
const (
	smtpPort     = 25
	lmtpPort     = 24
	probeSeconds = 30
)

// routes end with one that matches all.
func routes(in Input) []config.Route {
	var all []config.Route
	for _, r := range in.Relay.Spec.Routes {
		all = append(all, route(r, in.Material))
		if len(r.Match.RecipientDomains) == 0 && len(r.Match.SenderDomains) == 0 {
			return all
		}
	}
	return append(all, config.Route{Name: lastResort, MX: &config.MX{Port: smtpPort}})
}

func route(r v1alpha1.Route, material map[string][]byte) config.Route {
	c := config.Route{
		Name: r.Name,
		Match: config.Match{
			RecipientDomains: plain(r.Match.RecipientDomains),
			SenderDomains:    plain(r.Match.SenderDomains),
		},
		VerifyRecipients: verify(r),
	}
	if r.MX != nil {
		c.MX = &config.MX{Port: int(cmp.Or(r.MX.Port, smtpPort)), AllowCIDRs: plain(r.MX.AllowCIDRs)}
	}
	if r.LMTP != nil {
		c.LMTP = &config.LMTP{Host: string(r.LMTP.Host), Port: int(cmp.Or(r.LMTP.Port, lmtpPort))}
	}
	if r.Backup != nil {
		c.Backup = &config.Backup{
			Host:         string(r.Backup.Primary.Host),
			Port:         int(cmp.Or(r.Backup.Primary.Port, smtpPort)),
			ProbeSeconds: int(cmp.Or(r.Backup.ProbeSeconds, probeSeconds)),
		}
	}
	for _, h := range r.SmartHosts {
		c.SmartHosts = append(c.SmartHosts, smartHost(h, material))
	}
	return c
}

// verify fills in that recipients of a mailbox server and of a primary are verified.
func verify(r v1alpha1.Route) config.Verify {
	if r.VerifyRecipients == "" && (r.LMTP != nil || r.Backup != nil) {
		return config.VerifyProbe
	}
	return config.Verify(r.VerifyRecipients)
}

func smartHost(h v1alpha1.SmartHost, material map[string][]byte) config.SmartHost {
	c := config.SmartHost{
		Host: string(h.Host),
		Port: int(h.Port),
		TLS:  config.HopTLS(cmp.Or(h.TLS, v1alpha1.HopTLSRequired)),
	}
	if h.SecretRef != nil {
		files := Need{Kind: credentialsOf(h), Secret: string(h.SecretRef.Name)}.FileNames()
		c.UsernameFile = files[0]
		if h.OAuth2 == nil {
			c.PasswordFile = files[1]
		} else {
			c.OAuth2 = oauth2(h.OAuth2, files, material)
		}
	}
	if h.CASecretRef != nil {
		c.CAFile = Need{Kind: KindCA, Secret: string(h.CASecretRef.Name)}.FileNames()[0]
	}
	return c
}

// oauth2 names the files of a KindOAuth2, of the optional ones those that are there.
func oauth2(o *v1alpha1.OAuth2, files []string, material map[string][]byte) *config.OAuth2 {
	present := func(file string) string {
		if len(material[file]) == 0 {
			return ""
		}
		return file
	}
	return &config.OAuth2{
		TokenURL:         string(o.TokenURL),
		Scopes:           plain(o.Scopes),
		ClientIDFile:     files[1],
		ClientSecretFile: present(files[2]),
		RefreshTokenFile: present(files[3]),
	}
}
