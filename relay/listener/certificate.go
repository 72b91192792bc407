package listener

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// recheck is how often, at most, the files of a certificate are looked at.
const recheck = time.Second

// certificate is the key pair of a listener. It follows its files, and keeps the last good pair when they go bad.
type certificate struct {
	mu        sync.Mutex
	cert, key string
	stamp     [2]stamp
	checked   time.Time
	pair      *tls.Certificate
	err       error

	// config is of all sessions: it holds the keys of the tickets with which a client resumes one (RFC 8446 §2.2).
	config *tls.Config
}

// stamp tells whether a file is still the same one.
type stamp struct {
	size     int64
	modified time.Time
}

func newCertificate() *certificate {
	c := &certificate{err: errors.New("no certificate")}
	c.config = &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := c.current()
			if pair == nil {
				return nil, err
			}
			return pair, nil
		},
	}
	return c
}

// use reads the pair from these files, now and whenever they change.
func (c *certificate) use(certFile, keyFile string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cert, c.key = certFile, keyFile
	c.load()
}

// current is the pair in use, nil when there never was one, and what is wrong with the files.
func (c *certificate) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.cert != "" && now.Sub(c.checked) >= recheck {
		c.checked = now
		if c.stamps() != c.stamp {
			c.load()
		}
	}
	return c.pair, c.err
}

func (c *certificate) usable() bool {
	pair, _ := c.current()
	return pair != nil
}

// state is when the pair in use expires, and what is wrong with it or its files.
func (c *certificate) state() (expires time.Time, err error) {
	pair, err := c.current()
	if pair == nil {
		return time.Time{}, err
	}
	expires = pair.Leaf.NotAfter
	if now := time.Now(); now.After(expires) {
		err = errors.Join(err, fmt.Errorf("the certificate expired at %s", expires.UTC().Format(time.RFC3339)))
	}
	return expires, err
}

// load replaces the pair if the files hold a good one.
func (c *certificate) load() {
	c.stamp = c.stamps()
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		c.err = fmt.Errorf("certificate: %w", err)
		return
	}
	c.pair, c.err = &pair, nil
}

func (c *certificate) stamps() (s [2]stamp) {
	for i, file := range []string{c.cert, c.key} {
		if info, err := os.Stat(file); err == nil {
			s[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return s
}
