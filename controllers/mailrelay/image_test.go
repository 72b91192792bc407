package mailrelay

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
)

func TestChooseBuild(t *testing.T) {
	const name = "r.example:5000/postrider"
	tagged := func(version string) build { return build{name + ":" + version, version} }
	digested := func(version string) build { return build{name + "@sha256:of-" + version, version} }
	automatic, manual := v1alpha1.MailRelaySpec{}, v1alpha1.MailRelaySpec{Upgrade: v1alpha1.UpgradeManual}
	pinnedTo := func(version string) v1alpha1.MailRelaySpec {
		return v1alpha1.MailRelaySpec{Upgrade: v1alpha1.UpgradeManual, Version: v1alpha1.Version(version)}
	}
	own, older, none := tagged("v3"), tagged("v1"), build{}
	unknown := build{image: name + "@sha256:of-v1"}
	for what, c := range map[string]struct {
		spec         v1alpha1.MailRelaySpec
		own, running build
		turn         bool
		want         build
	}{
		"a new relay":                             {automatic, own, none, false, own},
		"a new relay, by hand":                    {manual, own, none, false, own},
		"a new relay of a version":                {pinnedTo("v2"), own, none, false, tagged("v2")},
		"a new relay of the operator's version":   {pinnedTo("v3"), digested("v3"), none, false, digested("v3")},
		"as it should be":                         {automatic, own, own, false, own},
		"its turn":                                {automatic, own, older, true, own},
		"not its turn":                            {automatic, own, older, false, older},
		"by hand":                                 {manual, own, older, true, older},
		"by hand, and told to":                    {pinnedTo("v3"), own, older, false, own},
		"by hand, and told to, by digest":         {pinnedTo("v3"), digested("v3"), digested("v1"), false, digested("v3")},
		"pinned to what it runs":                  {pinnedTo("v1"), own, older, true, older},
		"pinned to what it runs by digest":        {pinnedTo("v1"), digested("v3"), digested("v1"), true, digested("v1")},
		"pinned to what it runs, moved elsewhere": {pinnedTo("v1"), build{"mirror.example/postrider:v3", "v3"}, older, true, older},
		"pinned to what is now named by a digest": {pinnedTo("v3"), digested("v3"), tagged("v3"), true, tagged("v3")},
		"back to an older one":                    {pinnedTo("v1"), own, own, true, older},
		"back to an older one, from a digest":     {pinnedTo("v1"), digested("v3"), digested("v3"), true, tagged("v1")},
		"pinned, and nobody knows what runs":      {pinnedTo("v2"), digested("v3"), unknown, true, tagged("v2")},
		"by hand, from another repository":        {manual, own, build{"other.example/postrider:v1", "v1"}, true, build{"other.example/postrider:v1", "v1"}},
	} {
		t.Run(what, func(t *testing.T) {
			if got := chooseBuild(&c.spec, c.own, c.running, func() bool { return c.turn }); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestBuildOf(t *testing.T) {
	for _, c := range []struct{ image, version, want string }{
		{"postrider:v1", "v2", "v1"},
		{"postrider", "v2", "v2"},
		{"r.example:5000/postrider", "v2", "v2"},
		{"r.example:5000/a/postrider:v1", "v2", "v1"},
		{"r.example/postrider:v1@sha256:abc", "v2", "v1"},
		{"r.example/postrider@sha256:abc", "v2", "v2"},
		{"r.example:5000/postrider@sha256:abc", "", ""},
	} {
		if got := buildOf(c.image, c.version); got.version != c.want || got.image != c.image {
			t.Errorf("%s, else %q, is %+v; want %q", c.image, c.version, got, c.want)
		}
	}
}

func TestUpgradeOf(t *testing.T) {
	for _, c := range []struct {
		own, image build
		pinned     v1alpha1.Version
		want       *condition.Upgrade
	}{
		{own: build{"r/p:v2", "v2"}, image: build{"r/p:v2", "v2"}},
		{build{"r/p:v2", "v2"}, build{"r/p:v1", "v1"}, "", &condition.Upgrade{From: "v1", To: "v2", Manual: true}},
		{build{"r/p:v2", "v2"}, build{"r/p:v1", "v1"}, "v1", &condition.Upgrade{From: "v1", To: "v2", Manual: true}},
		{build{"r/p@sha256:b", "v2"}, build{"r/p@sha256:a", "v1"}, "", &condition.Upgrade{From: "v1", To: "v2", Manual: true}},
		{build{"r/p@sha256:b", "v2"}, build{"r/p:v1", "v1"}, "", &condition.Upgrade{From: "v1", To: "v2", Manual: true}},
		{own: build{"r/p@sha256:b", "v2"}, image: build{"r/p:v2", "v2"}, pinned: "v2"},
		{build{"r/p@sha256:b", "v2"}, build{"r/p@sha256:a", "v2"}, "", &condition.Upgrade{From: "r/p@sha256:a", To: "r/p@sha256:b", Manual: true}},
		{build{"r/p:v2", "v2"}, build{"q/p:v1", "v1"}, "", &condition.Upgrade{From: "q/p:v1", To: "r/p:v2", Manual: true}},
		{build{"r/p:v2", "v2"}, build{"r/p@sha256:a", ""}, "", &condition.Upgrade{From: "r/p@sha256:a", To: "r/p:v2", Manual: true}},
	} {
		spec := &v1alpha1.MailRelaySpec{Upgrade: v1alpha1.UpgradeManual, Version: c.pinned}
		if diff := cmp.Diff(c.want, upgradeOf(spec, c.own, c.image)); diff != "" {
			t.Errorf("%s to %s: %s", c.image, c.own, diff)
		}
	}
}
