//go:build !windows

package relay

import (
	"net"
	"syscall"
)

// private makes a Unix socket's file one that only our own user can open, from the moment it is there.
func private() *net.ListenConfig {
	return &net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) }) // not known everywhere
	}}
}
