package traffic

import (
	"errors"
	"io"
	"syscall"
)

// turn sends over a TCP connection and waits for an answer before it reads. An ordinary Read tries first, in vain,
// since no answer comes so fast: that is a system call in three, and system calls are nearly all that a load costs.
type turn struct {
	raw     syscall.RawConn
	out, in []byte
	// sent and got count octets of out and in; done says that out was written, as far as it went.
	sent, got int
	done      bool
	err       error
	// step is the method of that name, made once.
	step func(fd uintptr) bool
}

func newTurn(raw syscall.RawConn) *turn {
	t := &turn{raw: raw}
	t.step = t.next
	return t
}

// take sends and reads once. When not all could be sent without waiting, it returns how much was, and has read nothing.
func (t *turn) take(out, in []byte) (got, sent int, err error) {
	t.out, t.in, t.sent, t.got, t.done, t.err = out, in, 0, 0, false, nil
	// The connection is made ready for waiting before the first step, so no answer to what is sent in it is missed.
	err = t.raw.Read(t.step)
	return t.got, t.sent, errors.Join(err, t.err)
}

// next is called once, and then each time that the connection may have become readable. It returns whether that is all.
func (t *turn) next(fd uintptr) bool {
	if !t.done {
		t.done = true
		t.sent, t.err = syscall.Write(int(fd), t.out)
		if t.sent < 0 || errors.Is(t.err, syscall.EAGAIN) || errors.Is(t.err, syscall.EINTR) {
			t.sent, t.err = max(t.sent, 0), nil
		}
		return t.err != nil || t.sent < len(t.out)
	}
	n, err := syscall.Read(int(fd), t.in)
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(int(fd), t.in)
	}
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return false
	case err != nil:
		t.err = err
	case n == 0:
		t.err = io.ErrUnexpectedEOF
	default:
		t.got = n
	}
	return true
}
