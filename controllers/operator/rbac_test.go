package operator_test

import (
	"context"
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

const (
	rbacGroup = "rbac.authorization.k8s.io"
	ours      = "postrider.dev"
)

// may asks the API server whether a user may do something.
func may(t *testing.T, user string, groups []string, what authorizationv1.ResourceAttributes) bool {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user, Groups: append([]string{"system:authenticated"}, groups...), ResourceAttributes: &what,
	}}
	if err := server.Client.Create(context.Background(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

func described(a authorizationv1.ResourceAttributes) string {
	return fmt.Sprintf("%s %s/%s of group %q in %q, named %q", a.Verb, a.Resource, a.Subresource, a.Group, a.Namespace, a.Name)
}

// What the operator does every day. That nothing is missing is shown by all other tests, which run with these rights.
func TestOperatorMay(t *testing.T) {
	setUp(t)
	for _, allowed := range []authorizationv1.ResourceAttributes{
		{Verb: "get", Resource: "secrets", Name: "smtp-tls", Namespace: "shop"},
		{Verb: "patch", Group: "apps", Resource: "statefulsets", Namespace: "shop"},
		{Verb: "patch", Group: ours, Resource: "mailrelays", Subresource: "status", Namespace: "shop"},
		{Verb: "list", Resource: "namespaces"},
		{Verb: "create", Group: "cert-manager.io", Resource: "certificates", Namespace: "shop"},
		{Verb: "update", Resource: "secrets", Name: "postrider-ca", Namespace: "postrider-system"},
	} {
		if !may(t, serviceAccount, nil, allowed) {
			t.Errorf("it may not %s", described(allowed))
		}
	}
}

// What the operator must not be able to do, whoever takes it over.
func TestOperatorMayNot(t *testing.T) {
	setUp(t)
	forbidden := []authorizationv1.ResourceAttributes{
		// Read what it was not told the name of, or another's.
		{Verb: "list", Resource: "secrets"},
		{Verb: "watch", Resource: "secrets"},
		{Verb: "deletecollection", Resource: "secrets"},
		{Verb: "update", Resource: "secrets", Name: "other", Namespace: "postrider-system"},
		{Verb: "get", Resource: "pods", Subresource: "log"},
		// Run anything.
		{Verb: "create", Resource: "pods"},
		{Verb: "create", Resource: "pods", Subresource: "exec"},
		{Verb: "get", Resource: "pods", Subresource: "exec"},
		{Verb: "create", Resource: "pods", Subresource: "attach"},
		{Verb: "create", Resource: "pods", Subresource: "portforward"},
		{Verb: "update", Resource: "pods", Subresource: "ephemeralcontainers"},
		{Verb: "create", Group: "apps", Resource: "daemonsets"},
		{Verb: "create", Group: "apps", Resource: "deployments"},
		{Verb: "create", Group: "batch", Resource: "jobs"},
		// Be somebody else, or get more rights.
		{Verb: "create", Resource: "serviceaccounts", Subresource: "token"},
		{Verb: "impersonate", Resource: "users"},
		{Verb: "impersonate", Resource: "groups"},
		{Verb: "impersonate", Resource: "serviceaccounts"},
		// Change what is not its own.
		{Verb: "patch", Resource: "nodes"},
		{Verb: "list", Resource: "persistentvolumes"},
		{Verb: "delete", Resource: "persistentvolumes"},
		{Verb: "create", Resource: "persistentvolumes"},
		{Verb: "delete", Resource: "nodes"},
		{Verb: "patch", Resource: "namespaces"},
		{Verb: "delete", Resource: "namespaces"},
		{Verb: "delete", Group: "apps", Resource: "deployments"},
		{Verb: "update", Group: ours, Resource: "mailrelays"},
		{Verb: "create", Group: ours, Resource: "mailrelays"},
		{Verb: "delete", Group: ours, Resource: "mailrelays"},
		{Verb: "patch", Group: ours, Resource: "sendingdomains"},
		{Verb: "patch", Group: ours, Resource: "ratelimitpolicies"},
		{Verb: "patch", Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
		{Verb: "create", Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations"},
		{Verb: "create", Group: "admissionregistration.k8s.io", Resource: "mutatingwebhookconfigurations"},
		{Verb: "patch", Group: "cert-manager.io", Resource: "issuers"},
		{Verb: "approve", Group: "cert-manager.io", Resource: "signers"},
		{Verb: "create", Group: "certificates.k8s.io", Resource: "certificatesigningrequests"},
	}
	for _, resource := range []string{"roles", "clusterroles", "rolebindings", "clusterrolebindings"} {
		for _, verb := range []string{"get", "create", "patch", "update", "delete", "escalate", "bind"} {
			forbidden = append(forbidden, authorizationv1.ResourceAttributes{Verb: verb, Group: rbacGroup, Resource: resource})
		}
	}
	for _, what := range forbidden {
		if what.Namespace == "" {
			what.Namespace = "kube-system"
		}
		if may(t, serviceAccount, []string{"system:serviceaccounts"}, what) {
			t.Errorf("it may %s", described(what))
		}
	}
}

// Who has the built-in role view, edit or admin of a namespace has what befits it, there and nowhere else.
func TestUserRoles(t *testing.T) {
	server.Apply(t, "config/rbac/user_roles.yaml")
	server.Controllers(t, "clusterrole-aggregation-controller")
	f := &fixture{t: t, namespace: server.Namespace(t)}
	elsewhere := server.Namespace(t)
	for _, role := range []string{"view", "edit", "admin"} {
		f.create(&rbacv1.RoleBinding{
			ObjectMeta: f.meta(role), RoleRef: rbacv1.RoleRef{APIGroup: rbacGroup, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacGroup, Kind: "User", Name: "the-" + role}},
		})
	}
	on := func(verb, resource, subresource string) authorizationv1.ResourceAttributes {
		return authorizationv1.ResourceAttributes{Verb: verb, Group: ours, Resource: resource, Subresource: subresource, Namespace: f.namespace}
	}
	f.eventually("the roles are put together", func() error {
		if !may(t, "the-admin", nil, on("deletecollection", "mailrelays", "")) || !may(t, "the-view", nil, on("get", "mailrelays", "")) {
			return fmt.Errorf("they are not")
		}
		return nil
	})
	for _, resource := range []string{"mailrelays", "sendingdomains", "ratelimitpolicies"} {
		for _, test := range []struct {
			what              authorizationv1.ResourceAttributes
			view, edit, admin bool
		}{
			{on("get", resource, ""), true, true, true},
			{on("watch", resource, ""), true, true, true},
			{on("get", resource, "status"), true, true, true},
			{on("create", resource, ""), false, true, true},
			{on("patch", resource, ""), false, true, true},
			{on("delete", resource, ""), false, true, true},
			{on("deletecollection", resource, ""), false, false, true},
			{on("patch", resource, "status"), false, false, false},
			{on("update", resource, "status"), false, false, false},
			{on("update", resource, "finalizers"), false, false, false},
			{on("patch", "mailrelays", "scale"), false, true, true},
			{on("get", "mailrelays", "scale"), true, true, true},
		} {
			for role, want := range map[string]bool{"view": test.view, "edit": test.edit, "admin": test.admin} {
				if got := may(t, "the-"+role, nil, test.what); got != want {
					t.Errorf("%s: %s: %v", role, described(test.what), got)
				}
				other := test.what
				if other.Namespace = elsewhere; may(t, "the-"+role, nil, other) {
					t.Errorf("%s of another namespace: %s", role, described(other))
				}
			}
		}
	}
}
