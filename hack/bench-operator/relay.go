package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/probe"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/status"
)

// relayPod plays the relay in a pod, on an address of its own that leads to this machine.
type relayPod struct {
	name, ip string
	server   *http.Server
	queued   *atomic.Int64
	// bump is the annotation with which its volume was last read.
	bump    string
	mounted atomic.Pointer[mounted]
}

// mounted is what stands in a pod's volume, as far as it matters here.
type mounted struct {
	generation int64
	tls        *tls.Config
}

func startRelay(name, ip string, queued *atomic.Int64) (*relayPod, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, probe.Port))
	if err != nil {
		return nil, err
	}
	r := &relayPod{name: name, ip: ip, queued: queued}
	r.server = &http.Server{
		Handler:           http.HandlerFunc(r.answer),
		TLSConfig:         &tls.Config{GetConfigForClient: r.credentials, MinVersion: tls.VersionTLS13},
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	go func() { _ = r.server.ServeTLS(listener, "", "") }() // until close
	return r, nil
}

func (r *relayPod) close() { _ = r.server.Close() }

// mount reads the Secret that the index stands in.
func (r *relayPod) mount(ctx context.Context, c client.Client, namespace, relay string) error {
	var s corev1.Secret
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: desired.MaterialName(relay)}, &s); err != nil {
		return err
	}
	index, err := render.DecodeIndex(s.Data[config.IndexFile])
	if err != nil {
		return err
	}
	certificate, err := tls.X509KeyPair(s.Data[render.AdminCertFile], s.Data[render.AdminKeyFile])
	if err != nil {
		return fmt.Errorf("the certificate of %s: %w", r.name, err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(s.Data[render.AdminCAFile])
	r.mounted.Store(&mounted{generation: index.Generation, tls: &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, MinVersion: tls.VersionTLS13,
	}})
	return nil
}

func (r *relayPod) credentials(*tls.ClientHelloInfo) (*tls.Config, error) {
	if m := r.mounted.Load(); m != nil {
		return m.tls, nil
	}
	return nil, errors.New("nothing is mounted yet")
}

func (r *relayPod) answer(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(status.Status{
		Pod: r.name, Version: "bench", Generation: r.mounted.Load().generation, Queue: status.Queue{Queued: r.queued.Load()},
	})
}
