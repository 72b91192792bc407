package route

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/token"
)

// route is a config.Route with its lists looked up by name and its files read.
type route struct {
	name       string
	recipients map[string]bool
	senders    map[string]bool
	port       int            // of MX hosts
	allow      []netip.Prefix // private ranges that an MX may point to
	fixed      []fixedHop     // that the admin named; nil for a route by MX
	site       string         // of the fixed ones
	every      time.Duration  // between two probes of one that is down; 0 for the usual
	backup     bool
	verify     bool
	// unusable says what is wrong with the route. Its mail waits, and that of other routes flows.
	unusable error
}

// fixedHop is a hop whose addresses are not known yet.
type fixedHop struct {
	hop Hop
	// unusable says why it cannot be used as it must be: its credentials or CA cannot be read.
	unusable error
}

// problems are what is wrong with the route and its hops.
func (r *route) problems() []error {
	var problems []error
	if r.unusable != nil {
		problems = append(problems, fmt.Errorf("route %s: %w", r.name, r.unusable))
	}
	for _, f := range r.fixed {
		if f.unusable != nil {
			problems = append(problems, fmt.Errorf("route %s: %s: %w", r.name, f.hop.Key(), f.unusable))
		}
	}
	return problems
}

// compiler makes routes of a configuration.
type compiler struct {
	config *config.Config
	before *Router
	tokens map[token.Settings]*token.Source
}

func (c compiler) route(from config.Route) route {
	r := route{
		name:       from.Name,
		recipients: set(from.Match.RecipientDomains),
		senders:    set(from.Match.SenderDomains),
		verify:     from.VerifyRecipients == config.VerifyProbe,
	}
	if kinds(from) != 1 {
		r.unusable = errors.New("exactly one of mx, smartHosts, lmtp and backup must be set")
		return r
	}
	switch {
	case from.MX != nil:
		r.port = from.MX.Port
		r.allow, r.unusable = prefixes(from.MX.AllowCIDRs)
		return r
	case from.LMTP != nil:
		r.fixed = []fixedHop{{hop: Hop{Host: host(from.LMTP.Host), Port: from.LMTP.Port, TLS: config.HopOpportunistic, LMTP: true}}}
	case from.Backup != nil:
		r.backup, r.every = true, time.Duration(from.Backup.ProbeSeconds)*time.Second
		r.fixed = []fixedHop{{hop: Hop{Host: host(from.Backup.Host), Port: from.Backup.Port, TLS: config.HopOpportunistic}}}
	default:
		for _, smart := range from.SmartHosts {
			hop, err := c.smartHost(smart)
			r.fixed = append(r.fixed, fixedHop{hop, err})
		}
	}
	r.site = fixedSite(r.fixed)
	return r
}

// kinds is how many kinds of route are set.
func kinds(r config.Route) int {
	n := 0
	for _, set := range []bool{r.MX != nil, len(r.SmartHosts) > 0, r.LMTP != nil, r.Backup != nil} {
		if set {
			n++
		}
	}
	return n
}

func prefixes(cidrs []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, cidr := range cidrs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("mx.allowCIDRs: %w", err)
		}
		all = append(all, prefix.Masked())
	}
	return all, nil
}

// host is a name as we write it. The brackets that an IPv6 address has elsewhere may stay out or in.
func host(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if bare, ok := strings.CutPrefix(name, "["); ok {
		return strings.TrimSuffix(bare, "]")
	}
	return name
}

func (c compiler) smartHost(from config.SmartHost) (Hop, error) {
	hop := Hop{Host: host(from.Host), Port: from.Port, TLS: from.TLS}
	var err error
	if hop.Username, err = c.secret(from.UsernameFile); err != nil {
		return hop, err
	}
	if from.OAuth2 != nil {
		hop.Tokens, err = c.tokenSource(*from.OAuth2)
	} else {
		hop.Password, err = c.secret(from.PasswordFile)
	}
	if err != nil || from.CAFile == "" {
		return hop, err
	}
	bundle, err := os.ReadFile(c.config.Path(from.CAFile))
	if err != nil {
		return hop, err
	}
	hop.RootCAs = x509.NewCertPool()
	if !hop.RootCAs.AppendCertsFromPEM(bundle) {
		return hop, fmt.Errorf("%s holds no certificate", from.CAFile)
	}
	return hop, nil
}

// tokenSource is the source there was, if nothing about it changed: its tokens, and the connections that were
// authenticated with them, stay usable.
func (c compiler) tokenSource(from config.OAuth2) (TokenSource, error) {
	settings := token.Settings{URL: from.TokenURL, Scope: strings.Join(from.Scopes, " ")}
	for _, secret := range []struct {
		file string
		into *string
	}{
		{from.ClientIDFile, &settings.ClientID},
		{from.ClientSecretFile, &settings.ClientSecret},
		{from.RefreshTokenFile, &settings.RefreshToken},
	} {
		var err error
		if *secret.into, err = c.secret(secret.file); err != nil {
			return nil, err
		}
	}
	if source := c.known(settings); source != nil {
		return source, nil
	}
	source, err := token.New(settings)
	if err != nil {
		return nil, err
	}
	c.tokens[settings] = source
	return source, nil
}

func (c compiler) known(s token.Settings) *token.Source {
	if source := c.tokens[s]; source != nil {
		return source
	}
	if c.before == nil || c.before.tokens[s] == nil {
		return nil
	}
	c.tokens[s] = c.before.tokens[s]
	return c.tokens[s]
}

// secret reads a file without the line end that editors leave; empty for no file.
func (c compiler) secret(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	data, err := os.ReadFile(c.config.Path(file))
	if err != nil {
		return "", err
	}
	if secret := strings.TrimRight(string(data), "\r\n"); secret != "" {
		return secret, nil
	}
	return "", fmt.Errorf("%s is empty", file)
}

func set(names []string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[strings.ToLower(name)] = true
	}
	return s
}
