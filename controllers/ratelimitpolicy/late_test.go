package ratelimitpolicy

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

func TestLate(t *testing.T) {
	has := func(name string, generation int64) v1alpha1.PodStatus {
		return v1alpha1.PodStatus{Name: name, ConfigGeneration: &generation}
	}
	tests := map[string]struct {
		pods []v1alpha1.PodStatus
		want string
	}{
		"no pods":          {nil, "no pods"},
		"all have it":      {[]v1alpha1.PodStatus{has("out-0", 7), has("out-1", 9)}, ""},
		"one is behind":    {[]v1alpha1.PodStatus{has("out-0", 7), has("out-1", 6)}, "out-1 has generation 6"},
		"one is not known": {[]v1alpha1.PodStatus{{Name: "out-0"}, has("out-1", 7)}, "out-0 does not say"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			relay := &v1alpha1.MailRelay{ObjectMeta: metav1.ObjectMeta{Name: "out"}, Status: v1alpha1.MailRelayStatus{Pods: test.pods}}
			if got := late(relay, 7); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
				t.Errorf("got %q", got)
			}
		})
	}
}
