package local

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/manifest"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/controllers/sendingdomain"
)

// Plan is a MailRelay with all that the manifests say about it.
type Plan struct {
	// Relay is the MailRelay as it runs here: one process.
	Relay *v1alpha1.MailRelay
	// Domains name the relay, whether or not it takes them.
	Domains []v1alpha1.SendingDomain
	// Policies are those of the relay's namespace and of its domains'.
	Policies []v1alpha1.RateLimitPolicy
	// Material is what the Secrets hold, as files of the configuration.
	Material map[string][]byte
	// Secrets are those that are missing or malformed; Certificates those of the listeners.
	Secrets      []condition.Secret
	Certificates []condition.Certificate

	// facts are what is known about the domains besides what DNS says.
	facts map[types.NamespacedName]sendingdomain.Facts
}

// Last returns a file of the configuration that a relay has; false if it has none of that name.
type Last func(relay, file string) (data []byte, ok bool)

// Plans sorts what the manifests declare by relay. Where a Secret is missing or malformed, the last good copy that
// the relay has stays. The error says why the relays cannot run side by side on one address, all of it at once.
func Plans(set *manifest.Set, bind, resolver string, last Last) ([]*Plan, error) {
	var plans []*Plan
	var failed []error
	listeners, names := map[string]string{}, map[string]string{}
	for i := range set.Relays {
		r := set.Relays[i].DeepCopy()
		if other, taken := names[r.Name]; taken {
			failed = append(failed, fmt.Errorf("MailRelay %s/%s: there is one of that name in namespace %s already, and both would use the same directory: rename one", r.Namespace, r.Name, other))
		}
		names[r.Name] = r.Namespace
		for _, l := range r.Spec.Listeners {
			address := Address(bind, l)
			if other, taken := listeners[address]; taken {
				failed = append(failed, fmt.Errorf("MailRelay %s/%s: listener %s would listen on %s, which %s has: give one of them another port", r.Namespace, r.Name, l.Name, address, other))
			}
			listeners[address] = fmt.Sprintf("listener %s of %s", l.Name, r.Name)
		}
		plans = append(plans, newPlan(set, r, resolver, last))
	}
	if len(plans) == 0 {
		failed = append(failed, errors.New("there is no MailRelay in the manifests"))
	}
	return plans, errors.Join(failed...)
}

// Address is where a listener listens here: its container port.
func Address(bind string, l v1alpha1.Listener) string {
	return net.JoinHostPort(bind, strconv.Itoa(int(render.ContainerPort(l.Port))))
}

func newPlan(set *manifest.Set, r *v1alpha1.MailRelay, resolver string, last Last) *Plan {
	r.Spec.Replicas = 1
	if resolver != "" {
		r.Spec.DNS.Resolvers = []v1alpha1.Resolver{v1alpha1.Resolver(resolver)}
	}
	p := &Plan{Relay: r, Material: map[string][]byte{}}
	for _, d := range set.Domains {
		if admits(r, &d) {
			p.Domains = append(p.Domains, d)
		}
	}
	for _, policy := range set.Policies {
		if policy.Namespace == r.Namespace || slices.ContainsFunc(p.Domains, func(d v1alpha1.SendingDomain) bool { return d.Namespace == policy.Namespace }) {
			p.Policies = append(p.Policies, policy)
		}
	}
	for _, need := range render.Needs(r) {
		p.fill(need, set.Secrets, last)
	}
	return p
}

// fill takes a Secret that the relay refers to.
func (p *Plan) fill(need render.Need, secrets []corev1.Secret, last Last) {
	files, problem := p.find(need, secrets)
	if problem != nil {
		files, problem.Kept = need.Kept(func(name string) ([]byte, bool) { return last(p.Relay.Name, name) })
		p.Secrets = append(p.Secrets, *problem)
	}
	maps.Copy(p.Material, files)
	if need.Kind == render.KindTLS && len(files) > 0 {
		p.addCertificate(need.Secret, files[need.FileNames()[0]])
	}
}

// find looks for a Secret in the manifests, and returns its files or what is wrong with it.
func (p *Plan) find(need render.Need, secrets []corev1.Secret) (map[string][]byte, *condition.Secret) {
	for _, s := range secrets {
		if s.Namespace != p.Relay.Namespace || s.Name != need.Secret {
			continue
		}
		files, err := need.Files(s.Data)
		if err != nil {
			return nil, &condition.Secret{Use: use(need.Kind), Problem: need.Field + ": " + err.Error() + "."}
		}
		return files, nil
	}
	problem := fmt.Sprintf("%s: there is no Secret %s in the manifests. Add it to one of the files.", need.Field, need.Secret)
	return nil, &condition.Secret{Use: use(need.Kind), Problem: problem, Missing: true}
}

func use(kind render.Kind) condition.Use {
	switch kind {
	case render.KindTLS:
		return condition.UseTLS
	case render.KindUsers:
		return condition.UseUsers
	case render.KindRspamd, render.KindWebhook:
		return condition.UseService
	default:
		return condition.UseUpstream
	}
}

// addCertificate notes when a listener's certificate ends. render has found it sound.
func (p *Plan) addCertificate(secret string, chain []byte) {
	if block, _ := pem.Decode(chain); block != nil {
		if leaf, err := x509.ParseCertificate(block.Bytes); err == nil {
			p.Certificates = append(p.Certificates, condition.Certificate{Secret: secret, Expires: leaf.NotAfter})
		}
	}
}
