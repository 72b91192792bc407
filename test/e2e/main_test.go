//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/smtptest"
	"github.com/postrider/postrider/test/peers"
)

const (
	// nodeIP is the node's address: Postfix and Unbound listen there, and pods reach them.
	nodeIP = "10.213.0.1"
	// destination is the domain whose mail Postfix takes, with all below it.
	destination = "dest.test"
	// egress is the address that mail seems to leave from: a documentation address, for SPF.
	egress = "203.0.113.10"

	operatorNamespace = "postrider-system"
)

// world is what all scenarios share; they run one after the other.
var world struct {
	ca      *smtptest.CA
	postfix *peers.Postfix
	dns     *peers.Unbound
	// cluster is the directory of the cluster.
	cluster string
}

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	world.cluster = os.Getenv("POSTRIDER_CLUSTER")
	if world.cluster == "" {
		return 1, errors.New("no cluster: run make e2e")
	}
	dir := filepath.Join(world.cluster, "e2e")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	world.ca = smtptest.NewCA()
	if world.dns, err = peers.StartUnbound(filepath.Join(dir, "unbound"), nodeIP); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.dns.Stop()) }()
	if err := world.dns.Set("mx."+destination, "A "+nodeIP); err != nil {
		return 1, err
	}
	cert, key := world.ca.PairPEM("mx." + destination)
	world.postfix, err = peers.NewPostfix(peers.PostfixOptions{Dir: filepath.Join(dir, "postfix"), Address: nodeIP,
		Hostname: "mx." + destination, Domain: destination, CertPEM: cert, KeyPEM: key})
	if err != nil {
		return 1, err
	}
	if err := world.postfix.Start(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.postfix.Stop()) }()

	if err := installOperator(); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// installOperator installs what `kubectl apply -k config/default` installs, and makes it run the image just loaded.
func installOperator() error {
	begin := time.Now()
	for _, args := range [][]string{
		{"delete", "namespaces", "--selector=" + scenarioLabel, "--wait=true", "--timeout=170s"},
		{"apply", "--server-side", "--force-conflicts", "-k", filepath.Join(root, "config/default")},
		{"-n", operatorNamespace, "rollout", "restart", "deployment"},
		{"-n", operatorNamespace, "rollout", "status", "deployment", "--timeout=120s"},
	} {
		if _, err := kubectl(args...); err != nil {
			return fmt.Errorf("installing the operator: %w", err)
		}
	}
	fmt.Printf("operator installed and running after %.1f s\n", time.Since(begin).Seconds())
	return nil
}
