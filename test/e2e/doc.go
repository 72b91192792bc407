// Package e2e holds the scenarios that run on a real cluster with real peers: Postfix as the destination, Unbound as
// the resolver, swaks as a client, python3-dkim as the verifier. One file per behaviour. `make e2e` runs them, as root,
// inside the network of the throwaway cluster, which the build tag e2e stands for.
package e2e
