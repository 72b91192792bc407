package peers

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Unbound is a resolver that knows what it is told and asks nobody: any other name does not exist.
type Unbound struct {
	*process
	dir string
}

// StartUnbound starts a resolver at addresses (IP addresses), port 53, with its files in dir.
func StartUnbound(dir string, addresses ...string) (*Unbound, error) {
	u := &Unbound{dir: dir}
	var listen []string
	for _, address := range addresses {
		listen = append(listen, net.JoinHostPort(address, "53"))
	}
	conf := fill(unboundConf, map[string]string{"dir": dir, "interfaces": "  interface: " + strings.Join(addresses, "\n  interface: ")})
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(u.path("unbound.conf"), []byte(conf), 0o644); err != nil {
		return nil, err
	}
	var err error
	u.process, err = start(exec.Command("unbound", "-d", "-c", u.path("unbound.conf")), listen...)
	return u, err
}

func (u *Unbound) path(name string) string { return filepath.Join(u.dir, name) }

// Set replaces the records of a name by these, each a type and a value as in a zone file: "A 192.0.2.1", "TXT " + TXT(…).
// None leaves the name without any.
func (u *Unbound) Set(name string, records ...string) error {
	if err := u.control("local_data_remove", name+"."); err != nil {
		return err
	}
	for _, record := range records {
		// A short life, so that a test that changes a record need not wait for a cache.
		if err := u.control("local_data", fmt.Sprintf("%s. 1 IN %s", name, record)); err != nil {
			return err
		}
	}
	return nil
}

// TXT is a TXT value as in a zone file: strings of at most 255 octets (RFC 1035 section 3.3.14).
func TXT(value string) string {
	var parts []string
	for len(value) > 255 {
		parts, value = append(parts, `"`+value[:255]+`"`), value[255:]
	}
	return strings.Join(append(parts, `"`+value+`"`), " ")
}

func (u *Unbound) control(verb, argument string) error {
	out, err := exec.Command("unbound-control", "-c", u.path("unbound.conf"), verb, argument).CombinedOutput()
	if err != nil {
		return fmt.Errorf("unbound-control %s %s: %w: %s", verb, argument, err, out)
	}
	return nil
}

const unboundConf = `server:
  directory: "{dir}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: "{dir}/unbound.log"
  do-daemonize: no
{interfaces}
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
  module-config: "iterator"
  local-zone: "." static
  num-threads: 1
  so-reuseport: no
remote-control:
  control-enable: yes
  control-interface: {dir}/control.sock
  control-use-cert: no
`
