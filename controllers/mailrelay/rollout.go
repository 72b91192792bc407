package mailrelay

// outdated picks the pod that is to be replaced next, if any: one at a time, unready ones first, and one that
// is ready only while all are there and ready. Surplus pods are left alone: they are on their way out.
func outdated(pods []pod, want int32) (pod, bool) {
	var next *pod
	calm := true
	count := int32(0)
	for i := range pods {
		p := &pods[i]
		if p.surplus {
			continue
		}
		count++
		if p.DeletionTimestamp != nil {
			return pod{}, false
		}
		if !p.ready() {
			calm = false
		}
		if !p.updated && (next == nil || next.ready() && !p.ready()) {
			next = p
		}
	}
	if next == nil || next.ready() && (!calm || count < want) {
		return pod{}, false
	}
	return *next, true
}
