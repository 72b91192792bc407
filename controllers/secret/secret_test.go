package secret

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// store is an API server with one Secret.
type store struct {
	client.Reader
	data  map[string][]byte
	err   error
	reads int
}

func (s *store) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	s.reads++
	if s.err == nil && s.data == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
	}
	object.(*corev1.Secret).Data = s.data
	return s.err
}

func TestReader(t *testing.T) {
	now := time.Now()
	s := &store{data: map[string][]byte{"users": []byte("a")}}
	r := New(Options{Client: s, Keep: time.Minute, Now: func() time.Time { return now }})
	expect := func(want string, wantFound bool, reads int) {
		t.Helper()
		data, found, err := r.Data(t.Context(), "mail", "users")
		if err != nil || string(data["users"]) != want || found != wantFound || s.reads != reads {
			t.Errorf("got %q, %v, %v after %d reads; want %q, %v after %d", data["users"], found, err, s.reads, want, wantFound, reads)
		}
	}
	expect("a", true, 1)
	s.data = map[string][]byte{"users": []byte("b")}
	expect("a", true, 1)
	now = now.Add(time.Minute)
	expect("b", true, 2)
	s.data = nil
	r.Forget("mail", "users")
	expect("", false, 3)
	expect("", false, 3)

	now = now.Add(time.Minute)
	s.err = errors.New("no API server")
	if _, _, err := r.Data(t.Context(), "mail", "users"); !errors.Is(err, s.err) {
		t.Errorf("got %v", err)
	}
	s.err = nil
	now = now.Add(time.Hour)
	if _, _, err := r.Data(t.Context(), "mail", "other"); err != nil || len(r.kept) != 1 {
		t.Errorf("%v; %d Secrets are kept that nobody asks for", err, len(r.kept)-1)
	}
}
