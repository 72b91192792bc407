package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/dkimkey"
)

// bench is everything that runs, and what was measured so far.
type bench struct {
	options options
	dir     string
	cluster *cluster
	dns     *nameServer
	keys    dkimkey.Set
	nodes   *nodes
	watch   *watch
	// operator is nil before it is started.
	operator   *process
	kubeconfig string
	results    results

	stop   context.CancelFunc
	ending sync.WaitGroup
}

func newBench(ctx context.Context, o options) (b *bench, err error) {
	ctrl.SetLogger(logr.Discard())
	b = &bench{options: o, results: results{Time: time.Now().UTC(), Cores: runtime.NumCPU(), Relays: o.relays, Domains: o.domains}}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.dir, err = os.MkdirTemp("", "bench-operator-"); err != nil {
		return b, err
	}
	name, err := dkimkey.NewName(time.Now(), nil)
	if err != nil {
		return b, err
	}
	if b.keys, err = dkimkey.Generate(name, algorithms()); err != nil {
		return b, err
	}
	if b.dns, err = startNameServer(b.keys); err != nil {
		return b, err
	}
	if b.cluster, err = startCluster(b.dir); err != nil {
		return b, err
	}
	if b.kubeconfig, err = b.cluster.install(ctx); err != nil {
		return b, err
	}
	return b, b.play()
}

func algorithms() []v1alpha1.DKIMAlgorithm {
	return []v1alpha1.DKIMAlgorithm{v1alpha1.RSA2048, v1alpha1.Ed25519}
}

// play starts the nodes, and watches what the operator writes.
func (b *bench) play() error {
	mgr, err := ctrl.NewManager(b.cluster.config, ctrl.Options{
		Scheme: b.cluster.scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		Cache:  cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: uncached()}},
	})
	if err != nil {
		return err
	}
	b.nodes = &nodes{client: mgr.GetClient(), pods: map[types.NamespacedName]*relayPod{}}
	b.watch = newWatch(mgr.GetCache())
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	if err := errors.Join(b.nodes.setUp(mgr), b.watch.setUp(ctx)); err != nil {
		return err
	}
	b.ending.Go(func() {
		if err := mgr.Start(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "the played nodes:", err)
		}
	})
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		return errors.New("the objects could not be watched")
	}
	return nil
}

// close stops all that was started, the operator first.
func (b *bench) close() {
	if b.operator != nil {
		b.operator.stop()
	}
	if b.stop != nil {
		b.stop()
		b.ending.Wait()
		b.nodes.close()
	}
	if b.cluster != nil && b.cluster.env != nil {
		if err := b.cluster.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the API server:", err)
		}
	}
	if b.dns != nil {
		b.dns.close()
	}
	if err := os.RemoveAll(b.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func (b *bench) startOperator() (err error) {
	log := filepath.Join(filepath.Dir(b.options.out), "bench-operator.log")
	b.operator, err = startProcess(b.options.manager, b.kubeconfig, log)
	return err
}
