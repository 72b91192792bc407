package mailrelay

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/desired"
)

// chooseImage decides which image pods are made of: own is what the operator brings, running what the relay runs, empty for a
// relay that runs nothing yet. An upgrade that nobody has to ask for needs a turn.
func chooseImage(spec *v1alpha1.MailRelaySpec, own, running string, turn func() bool) string {
	switch {
	case spec.Upgrade == v1alpha1.UpgradeManual && spec.Version != "":
		return tagged(own, string(spec.Version))
	case running == "" || running == own:
		return own
	case spec.Upgrade == v1alpha1.UpgradeManual, !turn():
		return running
	}
	return own
}

// tagged is the image with another tag. A digest is of the tag that stands beside it, and holds for no other.
func tagged(image, tag string) string {
	name, has := split(image)
	if has == tag {
		return image
	}
	return name + ":" + tag
}

// split takes the digest off an image, and the tag: what follows a colon before the last slash is a port.
func split(image string) (name, tag string) {
	name, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon], name[colon+1:]
	}
	return name, ""
}

// upgradeOf says what waits when pods are made of another image than the operator brings.
func upgradeOf(own, image string, manual bool) *condition.Upgrade {
	if own == image {
		return nil
	}
	name, to := split(own)
	if was, from := split(image); was == name && from != to && from != "" && to != "" {
		return &condition.Upgrade{From: from, To: to, Manual: manual}
	}
	return &condition.Upgrade{From: image, To: own, Manual: manual}
}

// pickImage notes which image the pods are to be made of and, where it is not the operator's own, which shape they keep: what
// another version of the operator made of the relay's spec is what that version of the relay runs in.
func (p *pass) pickImage() {
	frozen := p.paused() || p.relay.DeletionTimestamp != nil
	if frozen {
		p.turns.drop(p.key())
	}
	running := p.running()
	p.image = chooseImage(&p.relay.Spec, p.Image, running, func() bool {
		return !frozen && p.turns.take(p.key(), p.wasReady())
	})
	if p.image != p.Image && p.image == running {
		p.kept = p.template()
	}
}

// upgrade says what waits. A relay that is paused waits for nothing.
func (p *pass) upgrade() *condition.Upgrade {
	manual := p.relay.Spec.Upgrade == v1alpha1.UpgradeManual
	if p.paused() && !manual {
		return nil
	}
	return upgradeOf(p.Image, p.image, manual)
}

// running is the image in the newest pod template; where there is none, that of the pods.
func (p *pass) running() string {
	if t := p.template(); t != nil {
		return imageOf(&t.Template.Spec)
	}
	for _, pod := range p.seen.pods {
		if !pod.surplus {
			return imageOf(&pod.Spec)
		}
	}
	return ""
}

// template is the newest pod template, and the digest of what it was made from; nil before there is one. While the
// StatefulSet is away, because its volumes grow, it is remembered.
func (p *pass) template() *desired.Kept {
	if s := p.seen.statefulSet; s != nil {
		return &desired.Kept{Template: s.Spec.Template, MadeFrom: s.Annotations[desired.PodSpecAnnotation], Shape: s.Annotations[desired.ShapeAnnotation]}
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
