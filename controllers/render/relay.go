package render

import (
	"cmp"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// lastResort is the name of the route that is added for mail that no route matches. No route of a MailRelay can
// have it.
const lastResort = "*"

const smtpPort = 25

// relay is the contents of relay.json.
func relay(in Input) config.Relay {
	spec := &in.Relay.Spec
	r := config.Relay{
		Namespace:  in.Relay.Namespace,
		Name:       in.Relay.Name,
		Hostname:   string(spec.Hostname),
		Postmaster: string(spec.Postmaster),
		SelfNames:  selfNames(in),
		Access: config.Access{
			TrustedCIDRs:      plain(spec.Access.TrustedCIDRs),
			UndeclaredSenders: config.Senders(spec.Access.UndeclaredSenders),
		},
		Queue:    queue(&spec.Queue),
		Routes:   routes(spec.Routes),
		Egress:   config.Egress{Addresses: plain(spec.Egress.Addresses)},
		DNS:      config.DNS{Resolvers: plain(spec.DNS.Resolvers)},
		Policies: policies(in),
		Cordoned: in.Cordoned,
	}
	for _, l := range spec.Listeners {
		r.Listeners = append(r.Listeners, listener(l))
	}
	if in.Admin != nil {
		r.Admin = in.Admin.config()
	}
	return r
}

// selfNames are what an MX record may call this relay: its host name, its Service, its egress addresses.
func selfNames(in Input) []string {
	service := in.Relay.Name + "." + in.Relay.Namespace
	names := []string{
		string(in.Relay.Spec.Hostname),
		service,
		service + ".svc",
		service + ".svc." + cmp.Or(in.ClusterDomain, "cluster.local"),
	}
	return append(names, plain(in.Relay.Spec.Egress.Addresses)...)
}

func listener(l v1alpha1.Listener) config.Listener {
	c := config.Listener{
		Name: l.Name,
		Port: int(ContainerPort(l.Port)),
		Mode: config.ListenerMode(l.Mode),
		TLS:  config.TLSNone,
	}
	if l.TLS != nil {
		c.TLS = config.TLSMode(l.TLS.Mode)
	}
	if l.TLS != nil && l.TLS.SecretRef != nil {
		files := Need{Kind: KindTLS, Secret: string(l.TLS.SecretRef.Name)}.FileNames()
		c.CertFile, c.KeyFile = files[0], files[1]
	}
	if l.Auth != nil {
		c.UsersFile = Need{Kind: KindUsers, Secret: string(l.Auth.Users.SecretRef.Name)}.FileNames()[0]
	}
	return c
}

func queue(q *v1alpha1.Queue) config.Queue {
	c := config.Queue{
		RetryInitialSeconds:  int(q.Retry.InitialSeconds),
		RetryMaxSeconds:      int(q.Retry.MaxSeconds),
		MaxMessageAgeSeconds: int(q.MaxMessageAgeSeconds),
		MaxMessageBytes:      q.MaxMessageBytes,
	}
	if q.DelayWarningSeconds != nil {
		c.DelayWarningSeconds = int(*q.DelayWarningSeconds)
	}
	return c
}

// routes end with one that matches all.
func routes(list []v1alpha1.Route) []config.Route {
	var all []config.Route
	for _, r := range list {
		all = append(all, route(r))
		if len(r.Match.RecipientDomains) == 0 && len(r.Match.SenderDomains) == 0 {
			return all
		}
	}
	return append(all, config.Route{Name: lastResort, MX: &config.MX{Port: smtpPort}})
}

func route(r v1alpha1.Route) config.Route {
	c := config.Route{
		Name: r.Name,
		Match: config.Match{
			RecipientDomains: plain(r.Match.RecipientDomains),
			SenderDomains:    plain(r.Match.SenderDomains),
		},
	}
	if r.MX != nil {
		c.MX = &config.MX{Port: int(cmp.Or(r.MX.Port, smtpPort)), AllowCIDRs: plain(r.MX.AllowCIDRs)}
	}
	for _, h := range r.SmartHosts {
		c.SmartHosts = append(c.SmartHosts, smartHost(h))
	}
	return c
}

func smartHost(h v1alpha1.SmartHost) config.SmartHost {
	c := config.SmartHost{
		Host: string(h.Host),
		Port: int(h.Port),
		TLS:  config.HopTLS(cmp.Or(h.TLS, v1alpha1.HopTLSRequired)),
	}
	if h.SecretRef != nil {
		files := Need{Kind: KindCredentials, Secret: string(h.SecretRef.Name)}.FileNames()
		c.UsernameFile, c.PasswordFile = files[0], files[1]
	}
	if h.CASecretRef != nil {
		c.CAFile = Need{Kind: KindCA, Secret: string(h.CASecretRef.Name)}.FileNames()[0]
	}
	return c
}

// Files of the status port.
const (
	// AdminCertFile and AdminKeyFile are what the port shows. The operator reads them back to renew them.
	AdminCertFile = "admin.crt"
	AdminKeyFile  = "admin.key"
	// AdminTokenFile is the bearer token of those who scrape metrics. The operator reads it back to keep it.
	AdminTokenFile = "admin-metrics-token"

	adminCAFile = "admin-clients.crt"
)

func (a *Admin) config() *config.Admin {
	c := &config.Admin{CertFile: AdminCertFile, KeyFile: AdminKeyFile, CAFile: adminCAFile}
	if a.MetricsToken != nil {
		c.MetricsTokenFile = AdminTokenFile
	}
	return c
}

func (a *Admin) files() map[string][]byte {
	files := map[string][]byte{AdminCertFile: a.Cert, AdminKeyFile: a.Key, adminCAFile: a.ClientCA}
	if a.MetricsToken != nil {
		files[AdminTokenFile] = a.MetricsToken
	}
	return files
}

// plain turns the API's strings into ordinary ones.
func plain[S ~string](list []S) []string {
	var out []string
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}
