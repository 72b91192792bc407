package peers

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// HAProxy is Debian's, forwarding TCP with a PROXY protocol header in front.
type HAProxy struct{ *process }

// StartHAProxy forwards from one address to another, both host:port, from the IP address source. The header is of
// version 1 or 2.
func StartHAProxy(dir, from, to, source string, version int) (*HAProxy, error) {
	conf := filepath.Join(dir, "haproxy.cfg")
	text := fill(haproxyConf, map[string]string{
		"from": from, "to": to, "source": source, "send": map[int]string{1: "send-proxy", 2: "send-proxy-v2"}[version],
	})
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(conf, []byte(text), 0o644)); err != nil {
		return nil, err
	}
	p, err := start(exec.Command("haproxy", "-db", "-f", conf), from)
	return &HAProxy{p}, err
}

const haproxyConf = `defaults
  mode tcp
  timeout connect 10s
  timeout client 1m
  timeout server 1m
frontend smtp
  bind {from}
  default_backend relay
backend relay
  source {source}
  server relay {to} {send}
`
