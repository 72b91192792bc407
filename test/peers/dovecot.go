package peers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// DovecotOptions is how a Dovecot is reached and who has a mailbox.
type DovecotOptions struct {
	// Dir is its directory; it must not be inside one that only root may enter, and short, for sockets are in it.
	Dir string
	// Address is the IP address it listens on.
	Address string
	// Users are passwords by user name, which is a mail address.
	Users map[string]string
	// Quota, in octets, is how much a user's mailbox may hold; who is not listed has no limit. Going over it is found
	// out only once a message is there.
	Quota map[string]int
}

// Ports of a Dovecot.
const (
	LMTPPort = 24
	IMAPPort = 143
	// SASLPort is where Postfix asks whether credentials are good.
	SASLPort = 12345
)

// Dovecot is Debian's, with configuration, mailboxes and log of its own: a mailbox server that takes mail over LMTP and
// shows it over IMAP.
type Dovecot struct {
	*process
	o DovecotOptions
}

// StartDovecot starts it; it listens when StartDovecot returns.
func StartDovecot(o DovecotOptions) (*Dovecot, error) {
	d := &Dovecot{o: o}
	var users strings.Builder
	for name, password := range o.Users {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::", name, password)
		if limit, ok := o.Quota[name]; ok {
			fmt.Fprintf(&users, "userdb_quota_rule=*:bytes=%d", limit)
		}
		users.WriteString("\n")
	}
	values := map[string]string{"dir": o.Dir, "address": o.Address, "lmtp": strconv.Itoa(LMTPPort), "imap": strconv.Itoa(IMAPPort), "sasl": strconv.Itoa(SASLPort)}
	if err := errors.Join(os.MkdirAll(d.path("run"), 0o755), os.MkdirAll(d.path("mail"), 0o755), os.Chown(d.path("mail"), nobody, nobody),
		os.WriteFile(d.path("users"), []byte(users.String()), 0o644),
		os.WriteFile(d.path("dovecot.conf"), []byte(fill(dovecotConf, values)), 0o644)); err != nil {
		return nil, err
	}
	var err error
	d.process, err = start(exec.Command("dovecot", "-F", "-c", d.path("dovecot.conf")),
		net.JoinHostPort(o.Address, strconv.Itoa(LMTPPort)), net.JoinHostPort(o.Address, strconv.Itoa(IMAPPort)))
	if err != nil {
		log, _ := os.ReadFile(d.path("dovecot.log"))
		return nil, fmt.Errorf("%w: %s", err, tail(log))
	}
	return d, nil
}

func (d *Dovecot) path(name string) string { return filepath.Join(d.o.Dir, name) }

// nobody is the user and group that mailboxes belong to.
const nobody = 65534

const dovecotConf = `protocols = lmtp imap
listen = {address}
base_dir = {dir}/run
log_path = {dir}/dovecot.log
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
default_internal_user = dovecot
default_login_user = dovenull
mail_location = maildir:{dir}/mail/%u
mail_plugins = quota
first_valid_uid = 1
mail_uid = 65534
mail_gid = 65534
passdb {
  driver = passwd-file
  args = username_format=%u {dir}/users
}
userdb {
  driver = passwd-file
  args = username_format=%u {dir}/users
  default_fields = uid=65534 gid=65534 home={dir}/mail/%u
}
plugin {
  quota = maildir:Mailbox
  quota_exceeded_message = the mailbox is full
}
service lmtp {
  inet_listener lmtp {
    address = {address}
    port = {lmtp}
  }
}
service imap-login {
  inet_listener imap {
    port = {imap}
  }
  inet_listener imaps {
    port = 0
  }
}
service auth {
  inet_listener sasl {
    address = {address}
    port = {sasl}
  }
}
service stats {
  chroot =
}
`
