package relay

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/directive"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/event"
	"github.com/postrider/postrider/relay/handoff"
	"github.com/postrider/postrider/relay/spool"
	"github.com/postrider/postrider/relay/status"
)

// peerDial is how long a peer's address may take to answer.
const peerDial = 5 * time.Second

// newHandoff makes the two sides of the hand-off of mail between pods.
func (r *Relay) newHandoff() (err error) {
	r.receiver = handoff.NewReceiver(handoff.ReceiverOptions{
		Store: r.spool, Pod: r.options.Pod, Free: r.spool.Free, Refusal: r.refusesPeers, Took: r.tookOver, Merge: r.mergeLists, Log: r.log,
	})
	r.sender, err = handoff.NewSender(handoff.SenderOptions{
		Store: r.spool, Pod: r.options.Pod, Client: r.peerClient, InFlight: r.schedule.InFlight, Gave: r.gaveAway,
		Kept: r.keptAfterAll, Strays: r.schedule.Expelled, Lists: r.ownLists, Log: r.log,
	})
	if err != nil {
		return fmt.Errorf("what was being handed over: %w", err)
	}
	return nil
}

// cordoned says that this pod takes no new mail.
func (s *settings) cordoned(pod string) bool { return slices.Contains(s.config.Relay.Cordoned, pod) }

// refusesPeers is why this pod takes no message of so many octets from a peer; empty when it does. A reserve as large as
// that below which clients are refused stays free.
func (r *Relay) refusesPeers(size int64) string {
	s := r.settings.Load()
	switch {
	case s == nil:
		return "no configuration is in force"
	case r.stopping.Load():
		return "it is stopping"
	case s.cordoned(r.options.Pod):
		return "it is to go itself"
	case r.pressure.lowDisk.Load():
		return "its disk is nearly full"
	}
	if free, err := r.spool.Free(); err != nil || free < diskReserve+2*uint64(size) {
		return "its disk has no room"
	}
	return ""
}

// tookOver lets mail flow that came from a peer.
func (r *Relay) tookOver(from string, entries []envelope.Envelope) {
	r.record(moved(event.HandedIn, entries, from)...)
	r.schedule.Wake(entries...)
}

func (r *Relay) gaveAway(to string, entries []envelope.Envelope) {
	r.record(moved(event.HandedOut, entries, to)...)
}

// moved are the events of entries that came from a pod or went to one.
func moved(t event.Type, entries []envelope.Envelope, peer string) []event.Event {
	var events []event.Event
	now := time.Now()
	for i := range entries {
		for j := range entries[i].Recipients {
			e := eventOf(t, &entries[i], entries[i].Recipients[j].Address, now)
			e.Peer = peer
			events = append(events, e)
		}
	}
	return events
}

// keptAfterAll lets a message flow that no peer took.
func (r *Relay) keptAfterAll(id envelope.ID) {
	if entries, err := r.spool.List(spool.Filter{ID: id}, envelope.Key{}, admin.MaxPage); err == nil {
		r.schedule.Wake(entries...)
	}
}

// ownLists passes the directives, then the suppressions page by page.
func (r *Relay) ownLists(suppressions bool, pass func(handoff.Lists) error) error {
	if err := pass(handoff.Lists{Directives: r.Directives()}); err != nil || !suppressions {
		return err
	}
	for after := ""; ; {
		page, next, err := r.suppressions.Page("", after, admin.MaxPage, time.Now())
		if err == nil {
			err = pass(handoff.Lists{Suppressions: page})
		}
		if err != nil || next == "" {
			return err
		}
		after = next
	}
}

// mergeLists takes up what a peer knows. A directive is in force for the mail that comes after it.
func (r *Relay) mergeLists(l handoff.Lists) error {
	var failed error
	for _, d := range l.Directives {
		failed = errors.Join(failed, r.mergeDirective(&d))
	}
	for _, e := range l.Suppressions {
		failed = errors.Join(failed, r.suppressions.Merge(e))
	}
	return failed
}

func (r *Relay) mergeDirective(d *directive.Directive) error {
	if err := r.directives.Merge(*d, time.Now()); err != nil {
		return err
	}
	select {
	case r.directives.changed <- struct{}{}:
	default: // it was told
	}
	return nil
}

// peerClient speaks to a pod of this relay or another, with our certificate and theirs.
func (r *Relay) peerClient(peer config.Peer) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialTLSContext:      func(ctx context.Context, _, _ string) (net.Conn, error) { return r.dialPeer(ctx, peer) },
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
		},
	}
}

// dialPeer tries a peer's address, then its name: the address is the latest that the operator knew.
func (r *Relay) dialPeer(ctx context.Context, peer config.Peer) (net.Conn, error) {
	s := r.settings.Load()
	if s == nil || s.config.Relay.Admin == nil || s.config.Relay.Admin.ServerName == "" {
		return nil, errors.New("no certificates for peers are configured")
	}
	secured, err := r.doors.certificates.ForPeer(cmp.Or(peer.ServerName, s.config.Relay.Admin.ServerName))
	if err != nil {
		return nil, err
	}
	failed := errors.New("no address is known")
	for _, host := range []string{peer.Address, peer.Host} {
		if host == "" {
			continue
		}
		d := tls.Dialer{Config: secured, NetDialer: &net.Dialer{Timeout: peerDial}}
		bounded, stop := context.WithTimeout(ctx, 2*peerDial)
		conn, err := d.DialContext(bounded, "tcp", net.JoinHostPort(host, strconv.Itoa(operatorPort)))
		stop()
		if err == nil {
			return conn, nil
		}
		failed = err
	}
	return nil, fmt.Errorf("reach %s: %w", peer.Pod, failed)
}

// sweepHandoffs forgets hourly what no peer will ask for any more.
func (r *Relay) sweepHandoffs(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if err := r.receiver.Sweep(); err != nil {
			r.log.Error("notes of hand-offs are not swept", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// handingOff is how far the hand-off of this pod is; nil when there is none.
func (r *Relay) handingOff() *status.Handoff {
	p := r.sender.Progress()
	if p.Phase == "" {
		return nil
	}
	return &status.Handoff{Phase: status.HandoffPhase(p.Phase), Since: p.Since, Problem: p.Problem}
}
