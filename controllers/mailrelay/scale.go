package mailrelay

// replicas is how many pods there shall be: as many as the spec asks for, and those beyond that are not drained
// yet, with all below them. The StatefulSet has current pods.
func replicas(want, current int32, drained func(ordinal int32) bool) int32 {
	for ordinal := current - 1; ordinal >= want; ordinal-- {
		if !drained(ordinal) {
			return ordinal + 1
		}
	}
	return want
}
