package desired

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// serviceAccount is the pods' identity. The relay asks the API server nothing, so it gets no token.
func serviceAccount(in Input) client.Object {
	return &corev1.ServiceAccount{
		TypeMeta:                     typeMeta("v1", "ServiceAccount"),
		ObjectMeta:                   meta(in, in.Relay.Name),
		AutomountServiceAccountToken: new(false),
	}
}
