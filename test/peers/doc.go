// Package peers runs real servers from Debian packages, each with a directory of its own and nothing of the machine's
// configuration: Postfix and Exim as mail exchangers, Dovecot as a mailbox server, Unbound as a resolver with a zone of
// its own, OpenDKIM and rspamd as filters, HAProxy in front. It needs root.
package peers
