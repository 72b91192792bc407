package listener

import (
	"testing"

	"github.com/postrider/postrider/relay/config"
)

// TestPause: while memory is short nobody new comes in, those inside go on, and afterwards all is as before.
func TestPause(t *testing.T) {
	caps := NewCaps(10, 10)
	r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.Caps = caps })
	inside := r.greeted()
	caps.Pause(true)
	outside := r.dial()
	outside.expect("421 4.7.0")
	outside.expectEnd()
	inside.do("MAIL FROM:<a@example.com>", "250 ", "RCPT TO:<b@example.org>", "250 ", "DATA", "354 ", ".", "250 ")
	caps.Pause(false)
	r.greeted().do("NOOP", "250 ")
}
