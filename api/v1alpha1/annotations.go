package v1alpha1

// Annotations of a MailRelay with which an admin steers one of its pods. The pod's name follows the prefix, and the value
// says who did it and why: `cordon.postrider.dev/mx1-0: "alice: its disk is replaced"`. They stand on the MailRelay and not
// on the pod, so that they outlive the pod, and so that who may change the relay may steer it.
const (
	// CordonAnnotation has a pod take no new mail; what it has it delivers.
	CordonAnnotation = "cordon.postrider.dev/"
	// DrainAnnotation has it, besides, hand what it has to its peers. It stays, empty, until the annotation goes.
	DrainAnnotation = "drain.postrider.dev/"
)
