package operator_test

import (
	"context"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// What the operator must not be able to do, whoever takes it over.
func TestOperatorMayNot(t *testing.T) {
	setUp(t)
	for _, forbidden := range []authorizationv1.ResourceAttributes{
		{Verb: "list", Resource: "secrets"},
		{Verb: "watch", Resource: "secrets"},
		{Verb: "deletecollection", Resource: "secrets"},
		{Verb: "update", Resource: "secrets", Name: "other", Namespace: "postrider-system"},
		{Verb: "create", Resource: "pods", Subresource: "exec"},
		{Verb: "create", Resource: "pods", Subresource: "attach"},
		{Verb: "get", Resource: "pods", Subresource: "exec"},
		{Verb: "create", Resource: "pods"},
		{Verb: "create", Resource: "serviceaccounts", Subresource: "token"},
		{Verb: "impersonate", Resource: "users"},
		{Verb: "impersonate", Resource: "serviceaccounts"},
		{Verb: "escalate", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
		{Verb: "bind", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
		{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"},
		{Verb: "patch", Resource: "nodes"},
		{Verb: "list", Resource: "persistentvolumes"},
		{Verb: "delete", Resource: "persistentvolumes"},
		{Verb: "create", Resource: "persistentvolumes"},
		{Verb: "patch", Resource: "namespaces"},
		{Verb: "delete", Resource: "namespaces"},
		{Verb: "update", Group: "postrider.dev", Resource: "mailrelays"},
		{Verb: "patch", Group: "postrider.dev", Resource: "sendingdomains"},
	} {
		if forbidden.Namespace == "" {
			forbidden.Namespace = "kube-system"
		}
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: serviceAccount, Groups: []string{"system:serviceaccounts", "system:authenticated"}, ResourceAttributes: &forbidden,
		}}
		if err := server.Client.Create(context.Background(), review); err != nil {
			t.Fatal(err)
		}
		if review.Status.Allowed {
			t.Errorf("it may %s %s/%s: %s", forbidden.Verb, forbidden.Resource, forbidden.Subresource, review.Status.Reason)
		}
	}
}
