package webhook

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/event"
)

// timeout bounds a request, from the dial to the last octet of the answer.
const timeout = 10 * time.Second

// settings are what a configuration says about a webhook. They never change.
type settings struct {
	config.Webhook
	source string
	agent  string
	// keys sign each request, one signature each; empty for none.
	keys   [][]byte
	client *http.Client
	// problem says why nothing can be sent. Events wait meanwhile.
	problem error
}

// newSettings reads what a configuration names. With an error the settings are usable too: events are taken, and keys
// that were read before sign on.
func newSettings(w config.Webhook, source string, path func(string) string, before *settings, o Options) (*settings, error) {
	s := &settings{Webhook: w, source: source, agent: "Postrider/" + o.Version}
	u, err := url.Parse(w.URL)
	switch {
	case err != nil:
		s.problem = errors.New("its URL is malformed") // the URL may hold a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		s.problem = errors.New("its URL is none of http or https")
	default:
		s.client = newClient(u.Hostname(), o.Loopback)
	}
	if w.SecretFile == "" {
		return s, s.problem
	}
	s.keys, err = readKeys(path(w.SecretFile))
	if err != nil && before != nil && len(before.keys) > 0 {
		s.keys = before.keys
		return s, errors.Join(s.problem, fmt.Errorf("the key that was read before signs on: %w", err))
	}
	s.problem = errors.Join(s.problem, err)
	return s, s.problem
}

// wants says whether an event of this type is to be told. A webhook that names none wants what becomes of mail, not
// what admins do.
func (s *settings) wants(t event.Type) bool {
	if len(s.Types) > 0 {
		return slices.Contains(s.Types, string(t))
	}
	switch t {
	case event.Accepted, event.Delivered, event.Deferred, event.Bounced, event.Suppressed:
		return true
	}
	return false
}

// newClient makes the client for one host. Proxies of the environment are not used: the guard would judge the proxy
// in place of the webhook.
func newClient(host string, loopback bool) *http.Client {
	dialer := &net.Dialer{Timeout: timeout, Control: guard(host, loopback)}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    timeout,
			IdleConnTimeout:        time.Minute,
			MaxIdleConnsPerHost:    1,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
	}
}

// keyPrefix stands before a key in base64, as Standard Webhooks writes secrets.
const keyPrefix = "whsec_"

// readKeys reads the keys of a Secret: one per line, so that a receiver can change from one to the next. A line that
// begins with whsec_ is base64, any other is the key itself.
func readKeys(file string) ([][]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	var keys [][]byte
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		key := []byte(line)
		if text, ok := strings.CutPrefix(line, keyPrefix); ok {
			if key, err = base64.StdEncoding.DecodeString(text); err != nil {
				return nil, errors.New("read the signing key: what follows whsec_ is not base64")
			}
		}
		if len(key) > 0 {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("read the signing key: the file holds none")
	}
	return keys, nil
}
