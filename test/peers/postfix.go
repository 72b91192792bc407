package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// PostfixOptions is how a Postfix is reached and what it takes.
type PostfixOptions struct {
	// Dir is its directory; it must not be inside one that only root may enter, for Postfix runs as others.
	Dir string
	// Address is the IP address it listens on, at Port; 25 if zero. Several are separated by commas.
	Address string
	Port    int
	// Hostname is the name in its greeting.
	Hostname string
	// Domain is taken with all domains below it, any local part.
	Domain string
	// RelayHost, in place of Domain, is where all mail from loopback is sent on to: "[127.0.0.1]:2525".
	RelayHost string
	// CertPEM and KeyPEM are what it offers STARTTLS with.
	CertPEM, KeyPEM []byte
	// Extra are further lines of main.cf; they prevail over the others.
	Extra string
}

// Postfix is Debian's, with configuration, queue and log of its own: a mail exchanger that keeps what it gets, or a
// relay. One that the machine may run otherwise is left alone.
type Postfix struct{ o PostfixOptions }

// Message is a message that Postfix delivered.
type Message struct {
	// Raw is the message as it was delivered, with the headers that Postfix put on top: Return-Path, X-Original-To,
	// Delivered-To and Received. Lines end in LF.
	Raw []byte
	// Recipient is who it was delivered to.
	Recipient string
	Header    mail.Header
}

// NewPostfix writes the configuration; Start starts it.
func NewPostfix(o PostfixOptions) (*Postfix, error) {
	p := &Postfix{o: o}
	for _, dir := range []string{"etc", "queue", "data", "mail"} {
		if err := os.MkdirAll(p.path(dir), 0o755); err != nil {
			return nil, err
		}
	}
	replace := strings.NewReplacer("{dir}", o.Dir, "{address}", o.Address, "{hostname}", o.Hostname, "{relayhost}", o.RelayHost, "{protocols}", protocols(o.Address),
		"{port}", strconv.Itoa(cmp.Or(o.Port, 25)), "{domain}", strings.ReplaceAll(o.Domain, ".", `\.`))
	role := takes
	if o.RelayHost != "" {
		role = relays
	}
	for name, content := range map[string]string{
		"etc/main.cf":   replace.Replace(mainCF+role) + o.Extra,
		"etc/master.cf": replace.Replace(masterCF),
		"etc/domains":   replace.Replace(`/^(.+\.)?{domain}$/ taken` + "\n"),
		"etc/cert.pem":  string(o.CertPEM),
		"etc/key.pem":   string(o.KeyPEM),
	} {
		if err := os.WriteFile(p.path(name), []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	if out, err := exec.Command("chown", "postfix", p.path("data")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("chown: %w: %s", err, out)
	}
	if out, err := exec.Command("chown", "nobody:nogroup", p.path("mail")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("chown: %w: %s", err, out)
	}
	return p, nil
}

// protocols are the address families of the addresses.
func protocols(addresses string) string {
	if strings.Contains(addresses, ":") {
		return "all"
	}
	return "ipv4"
}

func (p *Postfix) path(name string) string { return filepath.Join(p.o.Dir, name) }

// Start starts it; it listens when Start returns.
func (p *Postfix) Start() error { return p.control("start") }

// Stop ends it and all its processes. Connections to it are refused from then on.
func (p *Postfix) Stop() error {
	if !p.running() {
		return nil
	}
	return p.control("stop")
}

// PID is the process id of the master, whose children do the work.
func (p *Postfix) PID() (int, error) {
	data, err := os.ReadFile(p.path("queue/pid/master.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

func (p *Postfix) running() bool { return p.control("status") == nil }

func (p *Postfix) control(verb string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "postfix", "-c", p.path("etc"), verb).CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(p.path("postfix.log"))
		return fmt.Errorf("postfix %s: %w: %s%s", verb, err, out, tail(log))
	}
	return nil
}

// Messages returns what was delivered to a domain, in no order: a message with several recipients once for each.
func (p *Postfix) Messages(domain string) ([]Message, error) {
	files, err := filepath.Glob(p.path("mail/inbox/new/*"))
	if err != nil {
		return nil, err
	}
	var found []Message
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := mail.ReadMessage(strings.NewReader(string(raw)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		recipient := m.Header.Get("Delivered-To")
		if strings.HasSuffix(recipient, "@"+domain) {
			found = append(found, Message{Raw: raw, Recipient: recipient, Header: m.Header})
		}
	}
	return found, nil
}

// Received returns a delivered message as it came over the wire: without the four headers that Postfix put on top,
// with lines that end in CRLF.
func (m Message) Received() ([]byte, error) {
	text := string(m.Raw)
	for _, name := range []string{"Return-Path", "X-Original-To", "Delivered-To", "Received"} {
		if !strings.HasPrefix(text, name+":") {
			return nil, fmt.Errorf("the delivered message does not have %s where Postfix puts it", name)
		}
		lines := strings.SplitAfter(text, "\n")
		rest := 1
		for rest < len(lines) && strings.HasPrefix(lines[rest], "\t") {
			rest++
		}
		text = strings.Join(lines[rest:], "")
	}
	if text == "" {
		return nil, errors.New("the delivered message has no header of its own")
	}
	return []byte(strings.ReplaceAll(text, "\n", "\r\n")), nil
}

// Log is what Postfix logged last.
func (p *Postfix) Log() string {
	log, err := os.ReadFile(p.path("postfix.log"))
	if err != nil {
		return err.Error()
	}
	return tail(log)
}

func tail(log []byte) string {
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// mainCF is Debian's defaults but for where things are.
const mainCF = `compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
maillog_file = {dir}/postfix.log
maillog_file_prefixes = /
myhostname = {hostname}
mydestination =
inet_interfaces = {address}
inet_protocols = {protocols}
alias_maps =
local_recipient_maps =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
`

// relays is Debian's defaults but for who may relay and the smart host.
const relays = `mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = {relayhost}
`

// takes keeps the mail of a domain in one folder.
const takes = `mynetworks =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_cert_file = {dir}/etc/cert.pem
smtpd_tls_key_file = {dir}/etc/key.pem
smtpd_tls_received_header = yes
message_size_limit = 104857600
virtual_mailbox_limit = 0
virtual_mailbox_domains = regexp:{dir}/etc/domains
virtual_mailbox_maps = static:inbox/
virtual_mailbox_base = {dir}/mail
virtual_minimum_uid = 1
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_transport = virtual
virtual_destination_recipient_limit = 1
`

// masterCF is Debian's, without chroot.
const masterCF = `{port}    inet  n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
local     unix  - n n - - local
virtual   unix  - n n - - virtual
lmtp      unix  - - n - - lmtp
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`
