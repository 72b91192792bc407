package desired

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/render"
)

// service is what clients connect to: the pods that serve, at the listeners' own ports.
func service(in Input) client.Object {
	want := in.Relay.Spec.Service
	s := &corev1.Service{
		TypeMeta:   typeMeta("v1", "Service"),
		ObjectMeta: meta(in, in.Relay.Name),
		Spec: corev1.ServiceSpec{
			Type:              corev1.ServiceType(cmp.Or(want.Type, v1alpha1.ServiceClusterIP)),
			Selector:          Selector(in.Relay.Name),
			LoadBalancerClass: want.LoadBalancerClass,
		},
	}
	s.Annotations = want.Annotations
	s.Spec.Selector[ServingLabel] = "true"
	for _, l := range in.Relay.Spec.Listeners {
		s.Spec.Ports = append(s.Spec.Ports, servicePort(l.Name, l.Port, render.ContainerPort(l.Port)))
	}
	if s.Spec.Type != corev1.ServiceTypeClusterIP {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicy(cmp.Or(want.ExternalTrafficPolicy, v1alpha1.ExternalTrafficLocal))
	}
	for _, r := range want.SourceRanges {
		s.Spec.LoadBalancerSourceRanges = append(s.Spec.LoadBalancerSourceRanges, string(r))
	}
	if want.IPFamilyPolicy != "" {
		s.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicy(want.IPFamilyPolicy))
	}
	return s
}

// podService gives each pod a DNS name, whether it is ready or not: the operator asks every one of them.
func podService(in Input) client.Object {
	return &corev1.Service{
		TypeMeta:   typeMeta("v1", "Service"),
		ObjectMeta: meta(in, PodServiceName(in.Relay.Name)),
		Spec: corev1.ServiceSpec{
			ClusterIP:                corev1.ClusterIPNone,
			PublishNotReadyAddresses: true,
			Selector:                 Selector(in.Relay.Name),
			Ports: []corev1.ServicePort{
				servicePort("status", render.StatusPort, render.StatusPort),
				servicePort("metrics", render.MetricsPort, render.MetricsPort),
			},
		},
	}
}

func servicePort(name string, port, target int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Protocol: corev1.ProtocolTCP, Port: port, TargetPort: intstr.FromInt32(target)}
}
