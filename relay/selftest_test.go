package relay_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/smtptest"
)

// implicit is a listener that needs a certificate before it can listen.
func implicit(name, files string) config.Listener {
	return config.Listener{Name: name, Mode: config.ModeRelay, TLS: config.TLSImplicit, CertFile: files + ".crt", KeyFile: files + ".key"}
}

// TestReadyOnceAllHolds: a pod that lacks a certificate is not sent mail, and says why. Once it has served, a listener that
// is added and lacks one does not take the others out of service.
func TestReadyOnceAllHolds(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.config.Relay.Listeners = append(r.config.Relay.Listeners,
			config.Listener{Name: "starttls", Mode: config.ModeRelay, TLS: config.TLSOpportunistic, CertFile: "one.crt", KeyFile: "one.key"},
			implicit("smtps", "one"))
	})
	r.eventually("the reason", func() bool {
		return strings.HasPrefix(r.status().NotReady, "listener starttls does not serve as it should: certificate: open ")
	})
	if !strings.Contains(r.metrics(), "\npostrider_ready 0\n") {
		t.Error("the metric says that it is ready")
	}
	r.files["one.crt"], r.files["one.key"] = smtptest.NewCA().PairPEM("out.relay.example")
	r.configure()
	r.eventually("ready", func() bool { return r.status().NotReady == "" })
	if !strings.Contains(r.metrics(), "\npostrider_ready 1\n") {
		t.Error("the metric does not say that it is ready")
	}
	r.config.Relay.Listeners = append(r.config.Relay.Listeners, implicit("more", "two"))
	r.configure()
	r.eventually("the new listener", func() bool { return len(r.status().Listeners) == 4 })
	if why := r.status().NotReady; why != "" {
		t.Errorf("a pod that served is taken out of service: %s", why)
	}
}

// TestAnOpenRelayIsNotTakenUp: the configuration before stays in force.
func TestAnOpenRelayIsNotTakenUp(t *testing.T) {
	r := newRig(t, nil)
	r.config.Relay.Access.TrustedCIDRs = []string{"0.0.0.0/0"}
	r.configure()
	r.eventually("the refusal", func() bool { return strings.Contains(r.status().ConfigError, "open relay") })
	if s := r.status(); s.Generation != 1 || s.NotReady != "" {
		t.Errorf("generation %d is in force, not ready: %q", s.Generation, s.NotReady)
	}
}
