// Command manager is the operator: it makes MailRelays, SendingDomains and RateLimitPolicies what their specs
// ask, and says in their status what they are.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/postrider/postrider/controllers/operator"
)

// version is set by the build.
var version = "dev"

// namespaceFile tells a pod its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// leaderLock is the Lease that only one manager holds.
const leaderLock = "postrider-manager"

// flags are the command line.
type flags struct {
	leaderElect   bool
	relayImage    string
	namespace     string
	namespaces    []string
	clusterDomain string
	health        string
	metrics       string
	pprof         string
	verbose       bool
}

func main() {
	if err := command().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:           "manager",
		Short:         "The Postrider operator",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(c *cobra.Command, _ []string) error { return run(c.Context(), f) },
	}
	c.Flags().BoolVar(&f.leaderElect, "leader-elect", false, "wait until no other manager is active")
	c.Flags().StringVar(&f.relayImage, "relay-image", os.Getenv("RELAY_IMAGE"), "container image of relay pods (required; default $RELAY_IMAGE)")
	c.Flags().StringVar(&f.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "the operator's own namespace (default $POD_NAMESPACE, else that of the pod)")
	c.Flags().StringSliceVar(&f.namespaces, "namespaces", namespacesOf(os.Getenv("WATCH_NAMESPACE")), "namespaces that the operator is for, so that it needs no ClusterRole (default $WATCH_NAMESPACE, else all)")
	c.Flags().StringVar(&f.clusterDomain, "cluster-domain", "cluster.local", "DNS suffix of Services")
	c.Flags().StringVar(&f.health, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 for none")
	c.Flags().StringVar(&f.metrics, "metrics-bind-address", "0", "address of the metrics, over TLS, for clients that may get /metrics; 0 for none")
	c.Flags().StringVar(&f.pprof, "pprof-bind-address", "0", "address of profiles, for clients on this machine; 0 for none")
	c.Flags().BoolVar(&f.verbose, "verbose", false, "log details")
	return c
}

func run(ctx context.Context, f flags) error {
	logger(f.verbose)
	if f.relayImage == "" {
		return errors.New("--relay-image is required: the image that relay pods run")
	}
	namespace, err := ownNamespace(f.namespace)
	if err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	config.UserAgent = "postrider-manager/" + version
	options, err := managerOptions(f, namespace)
	if err != nil {
		return err
	}
	if err := awaitAnswer(ctx, config, askEvery); err != nil {
		return fmt.Errorf("waiting for the API server: %w", err)
	}
	mgr, err := ctrl.NewManager(config, options)
	if err != nil {
		return fmt.Errorf("making the manager: %w", err)
	}
	if err := operator.Add(ctx, mgr, operator.Options{
		Namespace: namespace, Namespaces: f.namespaces, RelayImage: f.relayImage, Version: version,
		ClusterDomain: f.clusterDomain, Metrics: metrics.Registry,
	}); err != nil {
		return err
	}
	if err := errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("ping", healthz.Ping)); err != nil {
		return err
	}
	slog.Info("starting", "version", version, "namespace", namespace, "namespaces", f.namespaces, "relayImage", f.relayImage)
	return mgr.Start(ctx)
}

func managerOptions(f flags, namespace string) (ctrl.Options, error) {
	scheme, err := operator.Scheme()
	if err != nil {
		return ctrl.Options{}, err
	}
	grace := 10 * time.Second
	return ctrl.Options{
		Scheme:                        scheme,
		Cache:                         operator.Cache(f.namespaces),
		Client:                        operator.Client(),
		HealthProbeBindAddress:        f.health,
		PprofBindAddress:              f.pprof,
		LeaderElection:                f.leaderElect,
		LeaderElectionID:              leaderLock,
		LeaderElectionNamespace:       namespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &grace,
		Metrics: metricsserver.Options{
			BindAddress:    f.metrics,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
	}, nil
}

// logger sends every library's log to standard error, as JSON.
func logger(verbose bool) {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	handler := slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	slog.SetDefault(slog.New(handler))
	ctrl.SetLogger(logr.FromSlogHandler(handler))
	klog.SetLogger(logr.FromSlogHandler(handler))
}

// namespacesOf splits a list at commas; an empty one is all namespaces.
func namespacesOf(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func ownNamespace(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	data, err := os.ReadFile(namespaceFile)
	if err != nil {
		return "", fmt.Errorf("the operator's own namespace: give --namespace outside of a cluster (%w)", err)
	}
	return cmp.Or(strings.TrimSpace(string(data)), "default"), nil
}
