package peers

import (
	"encoding/base64"
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
	// TokenKey is what access tokens are signed with (JWT, HS256), with the user name as sub; nil for no tokens.
	TokenKey []byte
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
	conf := dovecotConf
	if o.TokenKey != nil {
		conf += tokensConf
	}
	if err := errors.Join(d.writeTokenKey(), os.MkdirAll(d.path("run"), 0o755), os.MkdirAll(d.path("mail"), 0o755), os.Chown(d.path("mail"), nobody, nobody),
		os.WriteFile(d.path("users"), []byte(users.String()), 0o644),
		os.WriteFile(d.path("dovecot.conf"), []byte(fill(conf, values)), 0o644)); err != nil {
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

// writeTokenKey writes the key where Dovecot looks for that of tokens which name neither party nor key.
func (d *Dovecot) writeTokenKey() error {
	if d.o.TokenKey == nil {
		return nil
	}
	return errors.Join(
		os.MkdirAll(d.path("keys/default/HS256"), 0o755),
		os.WriteFile(d.path("keys/default/HS256/default"), []byte(base64.StdEncoding.EncodeToString(d.o.TokenKey)), 0o644),
		os.WriteFile(d.path("tokens.conf"), []byte(fill(`introspection_mode = local
local_validation_key_dict = fs:posix:prefix={dir}/keys/
username_attribute = sub
`, map[string]string{"dir": d.o.Dir})), 0o644),
	)
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

const tokensConf = `auth_mechanisms = plain login xoauth2
passdb {
  driver = oauth2
  mechanisms = xoauth2
  args = {dir}/tokens.conf
}
`
