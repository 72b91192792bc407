// Package peers runs real servers from Debian packages, each with a directory of its own and nothing of the machine's
// configuration: Postfix as a mail exchanger, Unbound as a resolver with a zone of its own. It needs root.
package peers
