package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/cmd/postrider/door"
)

// target is the relay that a command is about, as flags and arguments name it.
type target struct {
	dataDir                        string
	namespace, kubeconfig, context string
	// name is the first argument; empty for all relays of a data directory.
	name string
}

// flags adds the flags that name a target.
func (t *target) flags(c *cobra.Command) {
	c.Flags().StringVar(&t.dataDir, "data", "", "directory of a relay that `postrider local` runs here")
	t.clusterFlags(c)
}

// clusterFlags adds those that name a target in a cluster.
func (t *target) clusterFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&t.namespace, "namespace", "n", "", "namespace of the MailRelay; default that of the context")
	f.StringVar(&t.kubeconfig, "kubeconfig", "", "kubeconfig file; default $KUBECONFIG or ~/.kube/config")
	f.StringVar(&t.context, "context", "", "context of the kubeconfig")
}

// take takes the relay's name off the arguments. In a cluster it is required; a local relay need not be named,
// so the first argument is a name only if a relay of that name has a directory there.
func (t *target) take(args []string) ([]string, error) {
	if t.dataDir == "" {
		if len(args) == 0 {
			return nil, usageError{errors.New("name a MailRelay (-n NAMESPACE NAME), or a local one's directory (--data DIR)")}
		}
		t.name = args[0]
		return args[1:], nil
	}
	if len(args) > 0 {
		if info, err := os.Stat(filepath.Join(t.dataDir, filepath.Base(args[0]))); err == nil && info.IsDir() {
			t.name = filepath.Base(args[0])
			return args[1:], nil
		}
	}
	return args, nil
}

// doors are the ways to the target's processes.
func (t *target) doors(ctx context.Context) ([]door.Door, error) {
	if t.dataDir != "" {
		return door.Local(t.dataDir, t.name)
	}
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	relay, err := c.relay(ctx, t.name)
	if err != nil {
		return nil, err
	}
	return c.doors(ctx, relay)
}

// cluster is a connection to a cluster.
type cluster struct {
	client.Client
	loader    clientcmd.ClientConfig
	namespace string
}

func (t *target) connect() (*cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = t.kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: t.context}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster to ask (and no --data DIR for a local relay): %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	namespace := t.namespace
	if namespace == "" {
		if namespace, _, err = loader.Namespace(); err != nil {
			return nil, err
		}
	}
	return &cluster{Client: c, loader: loader, namespace: namespace}, nil
}

func (c *cluster) relay(ctx context.Context, name string) (*v1alpha1.MailRelay, error) {
	relay := &v1alpha1.MailRelay{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, relay); err != nil {
		return nil, err
	}
	relay.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MailRelay"))
	return relay, nil
}

func (c *cluster) doors(ctx context.Context, relay *v1alpha1.MailRelay) ([]door.Door, error) {
	if relay.Status.Selector == "" {
		return nil, fmt.Errorf("MailRelay %s/%s has no pods yet: the operator has not taken it up", c.namespace, relay.Name)
	}
	config, err := c.loader.ClientConfig()
	if err != nil {
		return nil, err
	}
	return door.Cluster(ctx, config, c.namespace, relay.Status.Selector)
}
