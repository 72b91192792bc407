package condition

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

// SendingDomain is what was observed of a sending domain.
type SendingDomain struct {
	Domain *v1alpha1.SendingDomain
	Now    time.Time
	// RelayFound says that the MailRelay is there, as far as the domain's namespace may know; Allowed that it admits the
	// domain.
	RelayFound, Allowed bool
	// Claimed says that another SendingDomain has the domain on this relay.
	Claimed bool
	// KeyProblem says why there are no keys; empty when there are, or when none are needed.
	KeyProblem string
	// KeyWarning says what is wrong with the stored keys although mail is signed; empty when nothing is.
	KeyWarning string
	// Records are the verdicts that hold; none before the first look.
	Records []v1alpha1.DNSRecord
	// Active says that a key signs.
	Active bool
}

// Conditions decides upon every condition of a SendingDomain.
func (o *SendingDomain) Conditions() []metav1.Condition {
	return merge(o.Domain.Status.Conditions, o.Domain.Generation, o.Now, []named{
		{v1alpha1.ConditionReady, o.ready()},
		{v1alpha1.ConditionReconciling, o.reconciling()},
		{v1alpha1.ConditionStalled, o.stalled()},
		{v1alpha1.ConditionAccepted, o.accepted()},
		{v1alpha1.ConditionDKIMKeyReady, o.keyReady()},
		{v1alpha1.ConditionSPFVerified, o.verified(v1alpha1.PurposeSPF)},
		{v1alpha1.ConditionDKIMVerified, o.verified(v1alpha1.PurposeDKIM)},
		{v1alpha1.ConditionDMARCVerified, o.verified(v1alpha1.PurposeDMARC)},
		{v1alpha1.ConditionMXVerified, o.verified(v1alpha1.PurposeMX)},
	})
}

func (o *SendingDomain) signs() bool { return o.Domain.Spec.DKIM.Signing != v1alpha1.SigningDisabled }

// accepted says that the relay takes the domain. Who has it instead is not told: that may be another tenant. Nor is
// whether a relay is there that does not admit the domain's namespace.
func (o *SendingDomain) accepted() decision {
	ref, domain := o.Domain.Spec.RelayRef, string(o.Domain.Spec.Domain)
	relay, elsewhere := string(ref.Name), string(ref.Namespace) != "" && string(ref.Namespace) != o.Domain.Namespace
	if elsewhere {
		relay = string(ref.Namespace) + "/" + relay
	}
	switch {
	case !o.RelayFound && elsewhere:
		return no(v1alpha1.ReasonNotAllowedByRelay, "There is no MailRelay "+relay+" that admits "+domain+" of the namespace "+o.Domain.Namespace+". Ask who runs it to admit both in its spec.allowedDomains, or change spec.relayRef.")
	case !o.RelayFound:
		return no(v1alpha1.ReasonRelayNotFound, "There is no MailRelay "+relay+" in this namespace. Make it, or change spec.relayRef.")
	case !o.Allowed:
		return no(v1alpha1.ReasonNotAllowedByRelay, "The MailRelay "+relay+" does not admit "+domain+". Add it to its spec.allowedDomains.suffixes, or change spec.relayRef.")
	case o.Claimed:
		return no(v1alpha1.ReasonDomainClaimed, "Another SendingDomain has "+domain+" on the MailRelay "+relay+". Publish this one's DKIM records to prove the domain, or delete it.")
	}
	return yes(v1alpha1.ReasonAccepted, "The MailRelay "+relay+" takes the domain.")
}

// ready says that mail of the domain is accepted.
func (o *SendingDomain) ready() decision {
	accepted := o.accepted()
	switch {
	case !accepted.isTrue():
		return no(v1alpha1.ReasonNotAccepted, accepted.message)
	case o.KeyProblem != "":
		return no(v1alpha1.ReasonPending, o.KeyProblem)
	case o.signs() && !o.Active && len(o.Records) == 0:
		return unknown(v1alpha1.ReasonPending, "DNS has not been asked yet.")
	case o.signs() && !o.Active:
		return no(v1alpha1.ReasonDNSGateFailed, "Mail of the domain is refused with a temporary error until its DKIM records are published. See status.records.")
	}
	return yes(v1alpha1.ReasonVerified, "Mail of the domain is accepted.")
}

// reconciling holds while the first look at DNS is under way.
func (o *SendingDomain) reconciling() decision {
	if r := o.ready(); r.status == metav1.ConditionUnknown {
		return yes(r.reason, r.message)
	}
	return decision{}
}

// stalled says that only a user can mend it.
func (o *SendingDomain) stalled() decision {
	if d := o.accepted(); d.reason == v1alpha1.ReasonDomainClaimed || d.reason == v1alpha1.ReasonNotAllowedByRelay {
		return yes(d.reason, d.message)
	}
	return decision{}
}

// keyReady says that the domain has the keys it needs.
func (o *SendingDomain) keyReady() decision {
	switch {
	case !o.signs():
		return yes(v1alpha1.ReasonNotRequired, "Somebody else signs: spec.dkim.signing is Disabled.")
	case o.KeyProblem != "":
		return no(v1alpha1.ReasonPending, o.KeyProblem)
	case o.KeyWarning != "":
		return no(v1alpha1.ReasonSecretInvalid, o.KeyWarning)
	}
	return yes(v1alpha1.ReasonKeysStored, "The keys are stored.")
}
