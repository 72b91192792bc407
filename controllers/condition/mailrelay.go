package condition

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/relay/status"
)

// MailRelay is what was observed of a relay.
type MailRelay struct {
	Relay *v1alpha1.MailRelay
	Now   time.Time
	// Pods are all there are, those beyond the replicas too.
	Pods []Pod
	// Generation is that of the newest configuration; 0 while there is none.
	Generation int64
	// Secrets are the Secrets that the relay refers to and that are not as they should be.
	Secrets []Secret
	// Certificates are those that the listeners are to use.
	Certificates []Certificate
	// Refused is why the API server refuses a child object; empty when it takes them all.
	Refused string
	// Volumes is what there is to say of their size.
	Volumes Volumes
	// Upgrade is the version that the pods could run and do not; nil when they run the operator's.
	Upgrade *Upgrade
	// Omitted names what the configuration would tell newer pods.
	Omitted []string
	// Reshaped says that what the pods are to be has changed, and that it is not known yet which of them are outdated.
	Reshaped bool
	// Deleting says that the relay is being deleted.
	Deleting bool
	// Draining is the pod that is being emptied, nil for none; HandsOver says that its mail goes to its peers, Overdue that
	// it takes longer than it may.
	Draining  *v1alpha1.DrainingPod
	HandsOver bool
	Overdue   bool
	// Heir is the relay that gets the mail of one that is being deleted, empty for none; HeirProblem is why it takes none.
	Heir, HeirProblem string
	// Namespaced says that the operator is installed for some namespaces only.
	Namespaced bool
	// Stranded are the claims without a pod that hold mail, or may.
	Stranded []string
	// Reverse is the verdict on the names of egress addresses; empty without any.
	Reverse Reverse
	// Lost says of each pod whose node is lost what that means for its mail.
	Lost []string
}

// Pod is one relay pod.
type Pod struct {
	Name    string
	Created time.Time
	// Ready is what the kubelet says. While it is false, Unready is since when.
	Ready   bool
	Unready time.Time
	// Trouble is what keeps it from becoming ready, as far as the cluster tells; empty when it does not. Hopeless says that
	// waiting will not help.
	Trouble  string
	Hopeless bool
	// Updated says that it runs the newest version and shape.
	Updated bool
	// Surplus says that it is beyond the replicas and on its way out.
	Surplus bool
	// Cordoned says that an admin has it take no new mail.
	Cordoned bool
	// Status is what it said of itself; nil when it could not be reached.
	Status *status.Status
}

// Volumes is how the size of the volumes compares with that in the spec.
type Volumes struct {
	// Growing says that one is still to become as large.
	Growing bool
	// Refused is why the API server does not let them grow; empty when it does.
	Refused string
	// Larger is the size that they have, where the spec says less; empty where it does not.
	Larger string
}

// Upgrade is a version that waits.
type Upgrade struct {
	// From and To are what runs and what the operator brings, as tags of the image; as images where it is not the tags that
	// differ.
	From, To string
	// Manual says that it waits for an admin, and not for the relay's turn.
	Manual bool
}

// Use is what a Secret is for.
type Use int

const (
	// UseTLS is a listener's certificate.
	UseTLS Use = iota
	// UseUsers is the users of a listener.
	UseUsers
	// UseUpstream is the credentials or CA of a smart host.
	UseUpstream
	// UseService is the password of a filter or the key of a webhook.
	UseService
)

// Secret is a Secret that is missing or malformed.
type Secret struct {
	Use Use
	// Problem says which, what is wrong, and what to do.
	Problem string
	// Kept says that the last good copy is in use.
	Kept bool
	// Missing says that it is not there (rather than malformed).
	Missing bool
}

// Certificate is a listener's.
type Certificate struct {
	// Secret holds it.
	Secret  string
	Expires time.Time
}

// Conditions decides upon every condition of a MailRelay.
func (o *MailRelay) Conditions() []metav1.Condition {
	return merge(o.Relay.Status.Conditions, o.Relay.Generation, o.Now, []named{
		{v1alpha1.ConditionReady, o.ready()},
		{v1alpha1.ConditionReconciling, o.reconciling()},
		{v1alpha1.ConditionStalled, o.stalled()},
		{v1alpha1.ConditionPaused, o.paused()},
		{v1alpha1.ConditionUpgradePending, o.upgradePending()},
		{Draining, o.draining()},
		{v1alpha1.ConditionAvailable, o.available()},
		{v1alpha1.ConditionQueueHealthy, o.queueHealthy()},
		{v1alpha1.ConditionConfigCurrent, o.configCurrent()},
		{v1alpha1.ConditionTLSReady, o.tlsReady()},
		{v1alpha1.ConditionUpstreamReady, o.upstreamReady()},
		{v1alpha1.ConditionPTRVerified, o.ptrVerified()},
		{v1alpha1.ConditionLimited, o.limited()},
	})
}

// serving counts the pods that take mail.
func (o *MailRelay) serving() int {
	n := 0
	for _, p := range o.Pods {
		if p.Ready && !p.Surplus && !p.Cordoned {
			n++
		}
	}
	return n
}

// cordoned names the pods that would serve but for an admin.
func (o *MailRelay) cordoned() []string {
	var names []string
	for _, p := range o.Pods {
		if p.Cordoned && !p.Surplus {
			names = append(names, p.Name)
		}
	}
	return names
}

func (o *MailRelay) replicas() int { return int(o.Relay.Spec.Replicas) }

// unreachable names the pods that did not answer.
func (o *MailRelay) unreachable() []string {
	var names []string
	for _, p := range o.Pods {
		if p.Status == nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// worst is the problem with Secrets of one use that hurts most: one without a last good copy, if there is any.
func (o *MailRelay) worst(use Use) (worst Secret, found bool) {
	for _, s := range o.problems(use) {
		if !found || worst.Kept && !s.Kept {
			worst, found = s, true
		}
	}
	return worst, found
}

// problems are those with Secrets of one use.
func (o *MailRelay) problems(use Use) []Secret {
	var list []Secret
	for _, s := range o.Secrets {
		if s.Use == use {
			list = append(list, s)
		}
	}
	return list
}
