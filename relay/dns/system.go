package dns

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// recheck is how often resolv.conf is looked at.
const recheck = 5 * time.Second

// systemServers reads the servers that resolv.conf names, again when the file changes.
type systemServers struct {
	path string
	now  func() time.Time

	mu       sync.Mutex
	checked  time.Time
	modified time.Time
	servers  []string
}

func newSystemServers(path string, now func() time.Time) *systemServers {
	return &systemServers{path: path, now: now}
}

// list returns the servers. A file that became unreadable or empty leaves those read before in use.
func (s *systemServers) list() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if len(s.servers) > 0 && now.Sub(s.checked) < recheck {
		return s.servers, nil
	}
	s.checked = now
	if err := s.reread(); err != nil && len(s.servers) == 0 {
		return nil, err
	}
	return s.servers, nil
}

func (s *systemServers) reread() error {
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if len(s.servers) > 0 && info.ModTime().Equal(s.modified) {
		return nil
	}
	conf, err := mdns.ClientConfigFromFile(s.path)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.path, err)
	}
	if len(conf.Servers) == 0 {
		return fmt.Errorf("%s names no server", s.path)
	}
	var servers []string
	for _, host := range conf.Servers {
		servers = append(servers, net.JoinHostPort(host, conf.Port))
	}
	s.servers, s.modified = servers, info.ModTime()
	return nil
}
