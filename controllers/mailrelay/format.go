package mailrelay

import (
	"github.com/postrider/postrider/relay/config"
)

// speech is what is known of the pods that are made of one image.
type speech struct {
	// format is the newest format of a configuration that they have said to read; 0 while none has answered.
	format int
	// own says that it is the operator's image, ready that one of them is ready: it has a configuration in force.
	own, ready bool
}

// formatFor is the newest format that all pods read. inForce is that of the configuration that they are given, 0 for none.
// Pods of another image than the operator's that have not been heard may be as old as can be: they could not answer under a
// configuration that they don't read.
func formatFor(images map[string]speech, inForce int) int {
	format := config.Format
	for _, s := range images {
		switch {
		case s.format > 0:
			format = min(format, s.format)
		case s.own:
		case s.ready && inForce > 0:
			format = min(format, inForce)
		default:
			format = config.Oldest
		}
	}
	return max(format, config.Oldest)
}

// format is that of the configuration to render: one that all pods there are read, and those that are made next.
func (p *pass) format() int {
	images := map[string]speech{p.build.image: p.speechOf(p.build.image, false)}
	for _, pod := range p.seen.pods {
		image := imageOf(&pod.Spec)
		images[image] = p.speechOf(image, pod.ready() || images[image].ready)
	}
	return formatFor(images, p.seen.index.Format)
}

func (p *pass) speechOf(image string, ready bool) speech {
	return speech{format: p.memory.formats[image], own: image == p.Image, ready: ready}
}

// listen remembers which formats the pods that have answered read, by their image: a pod that comes back need not be asked.
func (p *pass) listen() {
	formats := map[string]int{}
	for _, pod := range p.seen.pods {
		image := imageOf(&pod.Spec)
		if s := p.statuses[pod.Name]; s != nil {
			said := max(1, s.ConfigFormat)
			if before, heard := formats[image]; heard {
				said = min(said, before)
			}
			formats[image] = said
		} else if known := p.memory.formats[image]; known > 0 && formats[image] == 0 {
			formats[image] = known
		}
	}
	p.memory.formats = formats
}
