// Package v1alpha1 is the API of Postrider: the kinds MailRelay, SendingDomain and RateLimitPolicy. It owns
// their types, the rules that the API server holds them to, and the names of their conditions. It holds no
// behaviour: what a field does is done by the controllers and the relay.
//
// Kubernetes 1.30 is the oldest version whose API server knows all the functions the rules use.
//
// +kubebuilder:object:generate=true
// +groupName=postrider.dev
package v1alpha1
