package peers

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Ports of the filters.
const (
	OpenDKIMPort = 8891
	RspamdPort   = 11333
)

// OpenDKIM is Debian's, verifying signatures as a milter: mail with a signature that is wrong is refused.
type OpenDKIM struct{ *process }

// StartOpenDKIM starts it at address, with its files in dir. It asks the DNS server at resolver, an IP address; for names
// under test. it asks nobody (RFC 6761).
func StartOpenDKIM(dir, address, resolver string) (*OpenDKIM, error) {
	conf := filepath.Join(dir, "opendkim.conf")
	text := fill(opendkimConf, map[string]string{"dir": dir, "address": address, "resolver": resolver, "port": strconv.Itoa(OpenDKIMPort)})
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(conf, []byte(text), 0o644)); err != nil {
		return nil, err
	}
	p, err := start(exec.Command("opendkim", "-f", "-x", conf), net.JoinHostPort(address, strconv.Itoa(OpenDKIMPort)))
	return &OpenDKIM{p}, err
}

const opendkimConf = `Mode v
Socket inet:{port}@{address}
Nameservers {resolver}
UserID nobody
Syslog no
AuthservID opendkim.test
AlwaysAddARHeader yes
On-BadSignature reject
RequireSafeKeys no
PidFile {dir}/opendkim.pid
`

// Rspamd is Debian's, with nothing switched on but its test message: one that holds the GTUBE line is spam.
type Rspamd struct{ *process }

// StartRspamd starts its scanner at address, with its files in dir.
func StartRspamd(dir, address string) (*Rspamd, error) {
	conf := filepath.Join(dir, "rspamd.conf")
	text := fill(rspamdConf, map[string]string{"dir": dir, "address": address, "port": strconv.Itoa(RspamdPort)})
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, nobody, nobody), os.WriteFile(conf, []byte(text), 0o644)); err != nil {
		return nil, err
	}
	p, err := start(exec.Command("rspamd", "-f", "-u", "nobody", "-g", "nogroup", "-c", conf), net.JoinHostPort(address, strconv.Itoa(RspamdPort)))
	return &Rspamd{p}, err
}

const rspamdConf = `options {
  filters = "";
  pidfile = "{dir}/rspamd.pid";
  control_socket = "{dir}/rspamd.sock mode=0600";
  rrd = "{dir}/rspamd.rrd";
  url_tld = "/usr/share/rspamd/effective_tld_names.dat";
  gtube_patterns = "all";
}
logging {
  type = "file";
  filename = "{dir}/rspamd.log";
  level = "info";
}
actions {
  reject = 15;
  add_header = 6;
  greylist = 4;
}
worker "normal" {
  bind_socket = "{address}:{port}";
  count = 1;
}
`
