// Package desired turns a MailRelay and its rendered configuration into the objects that it consists of: pure,
// one file per object. It sets only the fields that are ours, so that a server-side apply of an object owns
// nothing else. It refuses to read the cluster: what depends on the live state is given to it.
package desired

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/render"
)

// Labels and annotations that we set besides those of app.kubernetes.io.
const (
	// RelayLabel holds the name of the MailRelay, on all its objects and volume claims.
	RelayLabel = "postrider.dev/relay"
	// ServingLabel is "true" on pods that the Service sends clients to.
	ServingLabel = "postrider.dev/serving"
	// PodSpecAnnotation, on a StatefulSet, is a digest of the spec.pod that its pod template was made from, ShapeAnnotation
	// one of the template.
	PodSpecAnnotation = "postrider.dev/pod-spec"
	ShapeAnnotation   = "postrider.dev/shape"
	// VersionAnnotation, on a StatefulSet, is the version of the relay in its image, which a digest does not tell.
	VersionAnnotation = "postrider.dev/version"
)

const (
	// VolumeAnnotation, on a volume claim whose pod was let go, says what is in it.
	VolumeAnnotation = "postrider.dev/volume"
	// VolumeEmpty is what it says when there is nothing.
	VolumeEmpty = "empty"
)

// Input is what the objects are made of.
type Input struct {
	Relay *v1alpha1.MailRelay
	// Files and Index are the rendered configuration; Index is encoded by render.EncodeIndex.
	Files *render.Files
	Index []byte
	// Shares is what the operator knows of the pods' shares in limits, kept beside the index; nil for nothing.
	Shares []byte
	// Replicas is the number of pods: more than the spec asks for while some that are to go hold mail.
	Replicas int32
	// ClaimSize is the size in the claim template of the StatefulSet that exists, which cannot change; nil when
	// there is none yet.
	ClaimSize *resource.Quantity
	// Image is the relay's container image, Version the version that is in it; empty where nobody knows.
	Image, Version string
	// Kept is the pod template that the pods keep, but for what the MailRelay's spec.pod says; nil for a new one.
	Kept *Kept
	// OperatorNamespace is the namespace from where the status port is reached.
	OperatorNamespace string
}

// Objects are all objects of a relay, in the order in which they are to be applied: what a pod needs comes
// before the pod, and the index of the configuration after the files that it lists.
func Objects(in Input) []client.Object {
	objects := []client.Object{serviceAccount(in)}
	objects = append(objects, configMaps(in)...)
	objects = append(objects, secrets(in)...)
	objects = append(objects, podService(in), service(in))
	if in.Relay.Spec.NetworkPolicy != v1alpha1.NetworkPolicyUnmanaged {
		objects = append(objects, networkPolicy(in))
	}
	if in.Replicas > 1 {
		objects = append(objects, podDisruptionBudget(in))
	}
	return append(objects, statefulSet(in))
}

// Kept is a pod template as it is in a StatefulSet, and what that one's PodSpecAnnotation, ShapeAnnotation and
// VersionAnnotation say.
type Kept struct {
	Template                 corev1.PodTemplateSpec
	MadeFrom, Shape, Version string
}

// Selector selects the pods of a relay. It stands in its StatefulSet and can never change.
func Selector(relay string) map[string]string {
	return map[string]string{RelayLabel: relay}
}

// MaterialName is the name of the Secret that holds the index of the configuration, certificates, users and
// credentials. The index stands here because digests would let one guess a weak password.
func MaterialName(relay string) string { return relay + "-material" }

// IsSecret says whether a Secret of this name is one that the relay is made of.
func IsSecret(relay, name string) bool {
	if name == MaterialName(relay) {
		return true
	}
	for shard := range render.KeyShards {
		if name == keysName(relay, shard) {
			return true
		}
	}
	return false
}

// SharesKey is the key of Shares in the Secret of MaterialName: what pods were told and what is known of it are written
// as one.
const SharesKey = "shares.json"

// PodServiceName is the name of the headless Service that gives each pod a DNS name.
func PodServiceName(relay string) string { return relay + "-pods" }

// ClaimPrefix is how the names of a relay's volume claims begin; the ordinal follows.
func ClaimPrefix(relay string) string { return spoolVolume + "-" + relay + "-" }

func configName(relay string) string             { return relay + "-config" }
func domainsName(relay string, shard int) string { return fmt.Sprintf("%s-domains-%02d", relay, shard) }
func keysName(relay string, shard int) string    { return fmt.Sprintf("%s-keys-%02d", relay, shard) }

func typeMeta(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

// meta is the metadata of an object that belongs to the relay and goes with it.
func meta(in Input, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:      name,
		Namespace: in.Relay.Namespace,
		Labels:    labels(in.Relay.Name),
		OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(in.Relay, v1alpha1.GroupVersion.WithKind("MailRelay")),
		},
	}
}

func labels(relay string) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":       "postrider",
		"app.kubernetes.io/component":  "relay",
		"app.kubernetes.io/instance":   relay,
		"app.kubernetes.io/managed-by": "postrider",
		RelayLabel:                     relay,
	}
}
