package desired

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/controllers/render"
)

// networkPolicy admits anyone to the listeners, the operator's namespace and the relay pods of its own, which hand mail to
// each other as far as their certificates allow, to the status port, and the pods of the cluster to the metrics port. Mail goes out to any address and port. The kubelet's probes need no rule.
func networkPolicy(in Input) client.Object {
	var listeners []networkingv1.NetworkPolicyPort
	for _, l := range in.Relay.Spec.Listeners {
		listeners = append(listeners, policyPort(render.ContainerPort(l.Port)))
	}
	relays := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: RelayLabel, Operator: metav1.LabelSelectorOpExists}}}
	operator := &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: in.OperatorNamespace}}
	return &networkingv1.NetworkPolicy{
		TypeMeta:   typeMeta("networking.k8s.io/v1", "NetworkPolicy"),
		ObjectMeta: meta(in, in.Relay.Name),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: Selector(in.Relay.Name)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{
				{Ports: listeners},
				ingressFrom(operator, render.StatusPort),
				{
					From:  []networkingv1.NetworkPolicyPeer{{PodSelector: relays}},
					Ports: []networkingv1.NetworkPolicyPort{policyPort(render.StatusPort)},
				},
				ingressFrom(&metav1.LabelSelector{}, render.MetricsPort),
			},
			Egress: []networkingv1.NetworkPolicyEgressRule{{}},
		},
	}
}

func ingressFrom(namespaces *metav1.LabelSelector, port int32) networkingv1.NetworkPolicyIngressRule {
	return networkingv1.NetworkPolicyIngressRule{
		From:  []networkingv1.NetworkPolicyPeer{{NamespaceSelector: namespaces}},
		Ports: []networkingv1.NetworkPolicyPort{policyPort(port)},
	}
}

func policyPort(port int32) networkingv1.NetworkPolicyPort {
	return networkingv1.NetworkPolicyPort{Protocol: new(corev1.ProtocolTCP), Port: new(intstr.FromInt32(port))}
}
