package render

import (
	"cmp"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/config"
)

// tracedPercent is how many of a hundred messages are traced where a relay does not say.
const tracedPercent = 100

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
		Routes:   routes(in),
		Egress:   config.Egress{Addresses: plain(spec.Egress.Addresses)},
		DNS:      config.DNS{Resolvers: plain(spec.DNS.Resolvers)},
		Policies: policies(in),
		Cordoned: in.Cordoned,
		Handoff:  in.Handoff,
		Givers:   in.Givers,
		Fences:   in.Fences,
		Carriers: in.Carriers,
	}
	for _, l := range spec.Listeners {
		r.Listeners = append(r.Listeners, listener(in.Relay, l))
	}
	if TakesTokens(in.Relay) {
		r.TokenKeysFile = TokenKeysFile
	}
	for _, f := range spec.Filters {
		r.Filters = append(r.Filters, filter(f))
	}
	for _, w := range spec.Events.Webhooks {
		r.Webhooks = append(r.Webhooks, webhook(w))
	}
	if t := spec.Telemetry.Traces; t != nil {
		r.Traces = &config.Traces{Endpoint: string(t.Endpoint), SamplingPercent: int(cmp.Or(t.SamplingPercent, tracedPercent))}
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

func listener(relay *v1alpha1.MailRelay, l v1alpha1.Listener) config.Listener {
	c := config.Listener{
		Name: l.Name,
		Port: int(ContainerPort(l.Port)),
		Mode: config.ListenerMode(l.Mode),
		TLS:  config.TLSNone,

		ProxyCIDRs: plain(l.ProxyCIDRs),
		HideClient: l.ClientAddress == v1alpha1.ClientHide,
	}
	if l.TLS != nil {
		c.TLS = config.TLSMode(l.TLS.Mode)
	}
	if secret, _ := certificateOf(relay, l); secret != "" {
		files := Need{Kind: KindTLS, Secret: secret}.FileNames()
		c.CertFile, c.KeyFile = files[0], files[1]
	}
	if l.Auth != nil && l.Auth.ServiceAccounts != nil {
		c.Audience = cmp.Or(string(l.Auth.ServiceAccounts.Audience), "postrider.dev/"+relay.Namespace+"/"+relay.Name)
	}
	if l.Auth != nil && l.Auth.Users != nil {
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
		BareNewline:          config.BareNewline(q.BareNewline),
	}
	if q.DelayWarningSeconds != nil {
		c.DelayWarningSeconds = int(*q.DelayWarningSeconds)
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
	// AdminCAFile is the authority behind all of them: of those who may ask, and of AdminCertFile.
	AdminCAFile = "admin-clients.crt"
)

func (a *Admin) config() *config.Admin {
	c := &config.Admin{CertFile: AdminCertFile, KeyFile: AdminKeyFile, CAFile: AdminCAFile, ServerName: a.ServerName}
	if a.MetricsToken != nil {
		c.MetricsTokenFile = AdminTokenFile
	}
	return c
}

func (a *Admin) files() map[string][]byte {
	files := map[string][]byte{AdminCertFile: a.Cert, AdminKeyFile: a.Key, AdminCAFile: a.ClientCA}
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
