// Package interop holds the relay against real peers from Debian packages: Postfix, Exim and Dovecot to deliver to,
// swaks and Python's smtplib as clients, unbound, rspamd, OpenDKIM and HAProxy; and alerts and dashboard against
// Prometheus. Each scenario runs `postrider local` with manifests as a user would write them, but for the dashboard's.
// `make interop` runs it, as root.
package interop
