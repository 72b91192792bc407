// Package render turns resources into the configuration of a relay: pure, deterministic, the same for a
// cluster and for a relay without one. It owns the names of the files and how they are split into shards that
// fit into Kubernetes objects. It refuses to fetch anything: what Secrets hold is given to it.
package render

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/share"
	"github.com/postrider/postrider/relay/config"
)

// KeyShards is the number of shards that DKIM keys are spread over, by their domain.
const KeyShards = 64

// Input is everything a relay's configuration is made of.
type Input struct {
	// Relay is the MailRelay, with the defaults of its definition filled in.
	Relay *v1alpha1.MailRelay
	// Domains are the SendingDomains that are accepted for the relay, each domain once.
	Domains []Domain
	// Policies are the RateLimitPolicies of the relay's namespace that are accepted. Those that don't concern
	// the relay are left out.
	Policies []v1alpha1.RateLimitPolicy
	// Material is the contents of the files that Needs asks for; see Need.Files. A file that is missing is named
	// in the configuration all the same: the relay serves what it can without it.
	Material map[string][]byte
	// Accounts are the ServiceAccounts there are of those that may send, by Subject, with their uids.
	Accounts map[string]types.UID
	// TokenKeys is what their tokens are verified with, a config.TokenKeys as JSON; nil while there is none.
	TokenKeys []byte
	// Cordoned are the pods that are to take no new mail.
	Cordoned []string
	// Handoff says which pod gives its mail to which others; nil when none does.
	Handoff *config.Handoff
	// Givers are other relays that may give their mail to this one, by the names in their certificates.
	Givers []string
	// Fences are about the pods whose volume was taken from a lost node, by name.
	Fences map[string]config.Fence
	// Shares are those of the pods in each policy with scope Relay, by PolicyName. A policy without any is let through
	// as a whole, as where there is just one pod.
	Shares map[string]map[string]share.Amount
	// Carriers are the pods that deliver what others, which have no share, may not; none when all have one.
	Carriers []config.Peer
	// Admin is the operator's door; nil without a cluster.
	Admin *Admin
	// ClusterDomain is the DNS suffix of Services; empty for cluster.local.
	ClusterDomain string
	// Format is that of the configuration, config.Oldest to config.Format; 0 for the newest. What an older one cannot say
	// is left out.
	Format int
}

// Domain is a SendingDomain with the keys that sign now.
type Domain struct {
	*v1alpha1.SendingDomain
	// Keys make one signature each. Where signing is enabled and there are none, mail of the domain is answered
	// with a temporary error.
	Keys []Key
}

// Key is a DKIM key.
type Key struct {
	Selector  string
	Algorithm v1alpha1.DKIMAlgorithm
	// PEM is the private key, PKCS #8.
	PEM []byte
}

// Admin is what the status port shows and asks of its clients. All are PEM but the token.
type Admin struct {
	Cert, Key []byte
	// ServerName is the name in Cert.
	ServerName string
	// ClientCA signs the clients that may ask.
	ClientCA []byte
	// MetricsToken admits a scraper; nil for none.
	MetricsToken []byte
}

// Files are the files of a configuration but for the index, in the groups that become Kubernetes objects. An
// empty shard is nil.
type Files struct {
	// Relay holds relay.json.
	Relay map[string][]byte
	// Domains hold the domains and the accounts.
	Domains [config.DomainShards]map[string][]byte
	// Keys are secret.
	Keys [KeyShards]map[string][]byte
	// Material is secret: certificates, users and credentials.
	Material map[string][]byte
	// Format is that of the files. Omitted names what they would say in the newest, and do not in this one.
	Format  int
	Omitted []string
}

// Render makes the files. An error means that a value cannot be encoded, which is a mistake of ours.
func Render(in Input) (*Files, error) {
	f := &Files{Relay: map[string][]byte{}, Material: map[string][]byte{}, Format: cmp.Or(in.Format, config.Format)}
	relay, err := json.MarshalIndent(told(f, relay(in)), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", config.RelayFile, err)
	}
	f.Relay[config.RelayFile] = append(relay, '\n')
	if err := errors.Join(f.addDomains(in), f.addAccounts(in)); err != nil {
		return nil, err
	}
	for _, need := range Needs(in.Relay) {
		for _, name := range need.FileNames() {
			if data, ok := in.Material[name]; ok {
				f.Material[name] = data
			}
		}
	}
	if in.Admin != nil {
		maps.Copy(f.Material, in.Admin.files())
	}
	return f, nil
}

// told is a document as relays of the files' format read it; what that leaves out is noted.
func told[T any](f *Files, document T) T {
	if f.Format >= config.Format {
		return document
	}
	document, omitted := config.For(document, f.Format)
	f.Omitted = slices.Compact(slices.Sorted(slices.Values(append(f.Omitted, omitted...))))
	return document
}

// All are the files by name.
func (f *Files) All() map[string][]byte {
	all := map[string][]byte{}
	maps.Copy(all, f.indexed())
	for _, shard := range f.Keys {
		maps.Copy(all, shard)
	}
	return all
}

// indexed are the files that the index lists: all but the DKIM keys, whose digests stand with their domains.
func (f *Files) indexed() map[string][]byte {
	files := maps.Clone(f.Relay)
	maps.Copy(files, f.Material)
	for _, shard := range f.Domains {
		maps.Copy(files, shard)
	}
	return files
}

// Changed says that the configuration differs from the one that old is the index of.
func (f *Files) Changed(old config.Index) bool {
	return differ(config.Index{Format: f.Format, Files: f.digests()}, old)
}

func differ(a, b config.Index) bool { return a.Format != b.Format || !maps.Equal(a.Files, b.Files) }

// Next is the index of the files. It is as secret as they are, for it would let one guess a weak password. Its generation
// is that of old, or one more if the files have changed.
func (f *Files) Next(old config.Index) config.Index {
	next := config.Index{Format: f.Format, Generation: old.Generation, Files: f.digests()}
	if differ(next, old) {
		next.Generation++
	}
	return next
}

func (f *Files) digests() map[string]string {
	digests := map[string]string{}
	for name, data := range f.indexed() {
		digests[name] = config.Digest(data)
	}
	return digests
}

// EncodeIndex is the contents of the index file.
func EncodeIndex(index config.Index) ([]byte, error) {
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", config.IndexFile, err)
	}
	return append(data, '\n'), nil
}

// DecodeIndex reads the contents of an index file, of any format.
func DecodeIndex(data []byte) (config.Index, error) {
	var index config.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return index, fmt.Errorf("reading %s: %w", config.IndexFile, err)
	}
	return index, nil
}
