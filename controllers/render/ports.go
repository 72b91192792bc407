package render

// Ports of the relay container that are not listeners.
const (
	// StatusPort answers the operator, over mutual TLS.
	StatusPort = 8443
	// MetricsPort answers scrapers, over TLS.
	MetricsPort = 9090
	// HealthPort answers the kubelet.
	HealthPort = 8081
)

// ContainerPort is the port in the container for a listener's port: an unprivileged one, since the relay has no
// capabilities. 25 is 2525, any other below 1024 is that port + 2000.
func ContainerPort(port int32) int32 {
	switch {
	case port == 25:
		return 2525
	case port < 1024:
		return port + 2000
	default:
		return port
	}
}
