package mailrelay

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
)

func TestChooseImage(t *testing.T) {
	const own, older = "r.example:5000/postrider:v3", "r.example:5000/postrider:v1"
	automatic, manual := v1alpha1.MailRelaySpec{}, v1alpha1.MailRelaySpec{Upgrade: v1alpha1.UpgradeManual}
	pinned := func(version string) v1alpha1.MailRelaySpec {
		return v1alpha1.MailRelaySpec{Upgrade: v1alpha1.UpgradeManual, Version: v1alpha1.Version(version)}
	}
	for name, c := range map[string]struct {
		spec    v1alpha1.MailRelaySpec
		running string
		turn    bool
		want    string
	}{
		"a new relay":                      {automatic, "", false, own},
		"a new relay, by hand":             {manual, "", false, own},
		"a new relay of a version":         {pinned("v2"), "", false, "r.example:5000/postrider:v2"},
		"as it should be":                  {automatic, own, false, own},
		"its turn":                         {automatic, older, true, own},
		"not its turn":                     {automatic, older, false, older},
		"by hand":                          {manual, older, true, older},
		"by hand, and told to":             {pinned("v3"), older, false, own},
		"pinned to what it runs":           {pinned("v1"), older, true, older},
		"back to an older one":             {pinned("v1"), own, true, older},
		"by hand, from another repository": {manual, "other.example/postrider:v1", true, "other.example/postrider:v1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := chooseImage(&c.spec, own, c.running, func() bool { return c.turn }); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestTagged(t *testing.T) {
	for _, c := range []struct{ image, tag, want string }{
		{"postrider:v1", "v2", "postrider:v2"},
		{"postrider", "v2", "postrider:v2"},
		{"r.example:5000/postrider", "v2", "r.example:5000/postrider:v2"},
		{"r.example:5000/a/postrider:v1", "v2", "r.example:5000/a/postrider:v2"},
		{"r.example/postrider:v1@sha256:abc", "v1", "r.example/postrider:v1@sha256:abc"},
		{"r.example/postrider:v1@sha256:abc", "v2", "r.example/postrider:v2"},
		{"r.example/postrider@sha256:abc", "v2", "r.example/postrider:v2"},
	} {
		if got := tagged(c.image, c.tag); got != c.want {
			t.Errorf("%s with the tag %s is %s, want %s", c.image, c.tag, got, c.want)
		}
	}
}

func TestUpgradeOf(t *testing.T) {
	for _, c := range []struct {
		own, image string
		want       *condition.Upgrade
	}{
		{"r/p:v2", "r/p:v2", nil},
		{"r/p:v2", "r/p:v1", &condition.Upgrade{From: "v1", To: "v2", Manual: true}},
		{"r/p:v2@sha256:b", "r/p:v1@sha256:a", &condition.Upgrade{From: "v1", To: "v2", Manual: true}},
		{"r/p:v2@sha256:b", "r/p:v2@sha256:a", &condition.Upgrade{From: "r/p:v2@sha256:a", To: "r/p:v2@sha256:b", Manual: true}},
		{"r/p:v2", "q/p:v1", &condition.Upgrade{From: "q/p:v1", To: "r/p:v2", Manual: true}},
		{"r/p:v2", "r/p", &condition.Upgrade{From: "r/p", To: "r/p:v2", Manual: true}},
	} {
		if diff := cmp.Diff(c.want, upgradeOf(c.own, c.image, true)); diff != "" {
			t.Errorf("%s to %s: %s", c.image, c.own, diff)
		}
	}
}
