// Package smtptest holds the other ends of a mail relay, for tests, trials and measurements: a DNS server with a
// zone, a sink that accepts mail over SMTP, a peer that follows a script, and a certificate authority. All of them
// work over real sockets. Nothing in here ever runs in production, and nothing in here sends mail.
package smtptest
