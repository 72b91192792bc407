package mailrelay

import (
	"cmp"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/desired"
)

// build is a relay image and the version that is in it, as spec.version names it: empty where nobody knows.
type build struct{ image, version string }

// buildOf is the build of an image. A tag says the version; an image that is named by its digest alone has the version given.
func buildOf(image, version string) build {
	_, tag := split(image)
	return build{image: image, version: cmp.Or(tag, version)}
}

// chooseBuild decides what pods are made of: own is what the operator brings, running what the relay runs, without an image for
// a relay that runs nothing yet. A relay that runs the version it asks for stays as it is, whatever the operator would call
// that image. An upgrade that nobody has to ask for needs a turn.
func chooseBuild(spec *v1alpha1.MailRelaySpec, own, running build, turn func() bool) build {
	manual := spec.Upgrade == v1alpha1.UpgradeManual
	switch {
	case manual && spec.Version != "":
		return pinned(own, running, string(spec.Version))
	case running.image == "" || running.image == own.image:
		return own
	case manual, !turn():
		return running
	}
	return own
}

// pinned is the build of a version: what runs, if it is that one, what the operator brings, if it is that one, else the image
// that has the version for a tag. A digest holds for no other version.
func pinned(own, running build, version string) build {
	for _, b := range []build{running, own} {
		if b.image != "" && b.version == version {
			return b
		}
	}
	name, _ := split(own.image)
	return build{image: name + ":" + version, version: version}
}

// split takes the digest off an image, and the tag: what follows a colon before the last slash is a port.
func split(image string) (name, tag string) {
	name, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon], name[colon+1:]
	}
	return name, ""
}

// upgradeOf says what waits when pods are made of another image than the operator brings. Nothing does where the version was
// asked for and both are of it.
func upgradeOf(spec *v1alpha1.MailRelaySpec, own, runs build) *condition.Upgrade {
	manual, same := spec.Upgrade == v1alpha1.UpgradeManual, own.version == runs.version
	if own.image == runs.image || same && manual && string(spec.Version) == own.version {
		return nil
	}
	to, _ := split(own.image)
	if from, _ := split(runs.image); from == to && !same && runs.version != "" && own.version != "" {
		return &condition.Upgrade{From: runs.version, To: own.version, Manual: manual}
	}
	return &condition.Upgrade{From: runs.image, To: own.image, Manual: manual}
}

// own is what the operator brings.
func (p *pass) own() build { return buildOf(p.Image, p.Version) }

// pickBuild notes what the pods are to be made of and, where it is not the operator's own, which shape they keep: what
// another version of the operator made of the relay's spec is what that version of the relay runs in.
func (p *pass) pickBuild() {
	frozen := p.paused() || p.relay.DeletionTimestamp != nil
	if frozen {
		p.turns.drop(p.key())
	}
	running := p.running()
	p.build = chooseBuild(&p.relay.Spec, p.own(), running, func() bool {
		return !frozen && p.turns.take(p.key(), p.wasReady())
	})
	if p.build.image != p.Image && p.build.image == running.image {
		p.kept = p.template()
	}
}

// upgrade says what waits. A relay that is paused waits for nothing.
func (p *pass) upgrade() *condition.Upgrade {
	if p.paused() && p.relay.Spec.Upgrade != v1alpha1.UpgradeManual {
		return nil
	}
	return upgradeOf(&p.relay.Spec, p.own(), p.build)
}

// running is what the newest pod template is made of; where there is none, what the pods are.
func (p *pass) running() build {
	if t := p.template(); t != nil {
		return buildOf(imageOf(&t.Template.Spec), t.Version)
	}
	for _, pod := range p.seen.pods {
		if !pod.surplus {
			return buildOf(imageOf(&pod.Spec), "")
		}
	}
	return build{}
}

// template is the newest pod template, and what was noted of it; nil before there is one. While the
// StatefulSet is away, because its volumes grow, it is remembered.
func (p *pass) template() *desired.Kept {
	if s := p.seen.statefulSet; s != nil {
		return &desired.Kept{
			Template: s.Spec.Template, Version: s.Annotations[desired.VersionAnnotation],
			MadeFrom: s.Annotations[desired.PodSpecAnnotation], Shape: s.Annotations[desired.ShapeAnnotation],
		}
	}
	return p.memory.template
}

func imageOf(spec *corev1.PodSpec) string {
	for _, c := range spec.Containers {
		if c.Name == desired.ContainerName {
			return c.Image
		}
	}
	return ""
}
