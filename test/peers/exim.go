package peers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// EximOptions is how an Exim is reached and what it takes.
type EximOptions struct {
	// Program is the unpacked program: its package cannot be installed beside Postfix's.
	Program string
	// Dir is its directory.
	Dir string
	// Address is the IP address it listens on, at port 25.
	Address string
	// Hostname is the name in its greeting.
	Hostname string
	// Domain is taken, any local part but nobody.
	Domain string
}

// Exim is Debian's, with configuration, spool and log of its own: a mail exchanger that keeps what it gets.
type Exim struct {
	*process
	o EximOptions
}

// StartExim starts it; it listens when StartExim returns.
func StartExim(o EximOptions) (*Exim, error) {
	e := &Exim{o: o}
	program, err := filepath.Abs(o.Program)
	if err != nil {
		return nil, err
	}
	conf := fill(eximConf, map[string]string{"program": program, "dir": o.Dir, "address": o.Address, "hostname": o.Hostname, "domain": o.Domain})
	for _, dir := range []string{"spool", "log", "mail"} {
		if err := errors.Join(os.MkdirAll(e.path(dir), 0o755), os.Chown(e.path(dir), nobody, nobody)); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(e.path("exim.conf"), []byte(conf), 0o644); err != nil {
		return nil, err
	}
	e.process, err = start(exec.Command(program, "-C", e.path("exim.conf"), "-bdf", "-q1m"), net.JoinHostPort(o.Address, "25"))
	if err != nil {
		log, _ := os.ReadFile(e.path("log/main.log"))
		return nil, fmt.Errorf("%w: %s", err, tail(log))
	}
	return e, nil
}

func (e *Exim) path(name string) string { return filepath.Join(e.o.Dir, name) }

// Messages returns what was delivered, in no order, with the headers that Exim put on top; lines end in LF.
func (e *Exim) Messages() ([]string, error) {
	files, err := filepath.Glob(e.path("mail/new/*"))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		found = append(found, string(data))
	}
	return found, nil
}

// Log is what Exim logged, and that it panicked, if it did.
func (e *Exim) Log() string {
	main, _ := os.ReadFile(e.path("log/main.log"))
	panics, _ := os.ReadFile(e.path("log/panic.log"))
	return strings.TrimSpace(tail(main) + "\n" + tail(panics))
}

const eximConf = `exim_path = {program}
keep_environment =
exim_user = nobody
exim_group = nogroup
primary_hostname = {hostname}
domainlist mine = {domain}
local_interfaces = {address}
daemon_smtp_ports = 25
spool_directory = {dir}/spool
log_file_path = {dir}/log/%s.log
pid_file_path = {dir}/exim.pid
never_users =
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
begin acl
rcpt:
  deny local_parts = nobody
       message = 5.1.1 no such mailbox
  accept domains = +mine
  deny message = not mine
begin routers
mine:
  driver = accept
  domains = +mine
  transport = folder
begin transports
folder:
  driver = appendfile
  directory = {dir}/mail
  maildir_format
  envelope_to_add
  return_path_add
  user = nobody
  group = nogroup
`
