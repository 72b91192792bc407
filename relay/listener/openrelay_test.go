package listener

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/config"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/policy"
	"github.com/postrider/postrider/relay/rate"
)

// unlimited is a policy.Limiter that lets everything pass.
type unlimited struct{}

func (unlimited) Accept(rate.Subject) (string, bool) { return "", true }

// ruled makes a rig's handler ask the rules of a relay that takes mail for hosted.example from anyone.
func ruled(t *testing.T, r *rig) {
	t.Helper()
	p, err := policy.New(policy.Options{
		Relay: config.Relay{
			Hostname: "mx.example.com", Postmaster: "ops@example.com",
			Access: config.Access{UndeclaredSenders: config.SendersAccept},
		},
		Domains:  []config.Domain{{Name: "example.com", Users: []string{"alice"}}},
		RelaysTo: func(domain string) bool { return domain == "hosted.example" },
		Limiter:  unlimited{},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.handler.mail = func(s *Session) error {
		return p.ReversePath(policy.ClientOf(s.User, p.Trusted(s.Remote.Addr())), s.ReversePath)
	}
	r.handler.rcpt = func(s *Session, to envelope.Recipient) error {
		var err error
		to.Address, err = p.Recipient(policy.ClientOf(s.User, p.Trusted(s.Remote.Addr())), to.Address)
		if err == nil {
			s.Recipients = append(s.Recipients, to)
		}
		return err
	}
}

// TestNotAnOpenRelay asks in every way we know, on each kind of listener that talks to strangers, as several senders.
func TestNotAnOpenRelay(t *testing.T) {
	for _, mode := range []config.TLSMode{config.TLSNone, config.TLSOpportunistic} {
		r := serve(t, config.ModeRelay, mode, func(o *Options) { o.Trusted, o.Greeting = nil, -1 })
		ruled(t, r)
		for _, sender := range []string{"<>", "<x@stranger.example>", "<x@example.com>", "<postmaster@mx.example.com>", "<x@hosted.example>", "<x@[127.0.0.1]>"} {
			for _, probe := range probes() {
				p := r.greeted()
				p.send("MAIL FROM:" + sender + "\r\nRCPT TO:" + probe + "\r\n")
				p.expect("250 2.1.0")
				if got, err := p.reply(); err != nil || got[0] != '5' {
					t.Errorf("MAIL FROM:%s, RCPT TO:%s: %q, %v", sender, probe, got, err)
				}
				p.do("DATA", "554 5.5.1")
				_ = p.Close()
			}
			p := r.greeted()
			p.do("MAIL FROM:"+sender, "250 ", "RCPT TO:<u@hosted.example>", "250 ", "RCPT TO:<postmaster>", "250 ")
		}
	}
}

// TestSubmissionIsForUsers: on the other listeners a stranger does not even get to name a recipient, and a user
// sends as nobody else.
func TestSubmissionIsForUsers(t *testing.T) {
	for _, mode := range []config.TLSMode{config.TLSOpportunistic, config.TLSRequired, config.TLSImplicit} {
		r := serve(t, config.ModeSubmission, mode, nil)
		ruled(t, r)
		p := r.encrypted()
		p.do("MAIL FROM:<x@example.com>", "530 5.7.0", "RCPT TO:<victim@victim.example>", "503 5.5.1", "DATA", "503 5.5.1",
			"AUTH PLAIN "+b64("\x00alice\x00secret"), "235 ",
			"MAIL FROM:<x@other.example>", "550 5.7.1", "MAIL FROM:<>", "550 5.7.1",
			"MAIL FROM:<x@example.com>", "250 ", "RCPT TO:<anyone@elsewhere.example>", "250 ")
	}
}

// TestRefusedSessionLeavesNothing: a whole refused transaction, data and all.
func TestRefusedSessionLeavesNothing(t *testing.T) {
	r := serve(t, config.ModeRelay, config.TLSNone, func(o *Options) { o.Trusted = nil })
	ruled(t, r)
	p := r.greeted()
	p.send("MAIL FROM:<x@stranger.example>\r\nRCPT TO:<victim@victim.example>\r\nDATA\r\n")
	for _, want := range []string{"250 ", "550 5.7.1", "554 5.5.1"} {
		p.expect(want)
	}
	if n := len(r.handler.all()); n > 0 {
		t.Errorf("%d messages were taken", n)
	}
}

// probes are forward paths that would make mail for elsewhere leave through us.
func probes() []string {
	return strings.Split(`<victim@victim.example>
<VICTIM@VICTIM.EXAMPLE>
<victim@sub.hosted.example>
<victim@nothosted.example>
<victim@hosted.example.victim.example>
<victim@hosted.example@victim.example>
<victim@victim.example@hosted.example>
<victim%victim.example@hosted.example>
<victim%victim.example@mx.example.com>
<victim%victim.example@[127.0.0.1]>
<victim%victim.example>
<victim.example!victim@hosted.example>
<victim.example!victim>
<@hosted.example:victim@victim.example>
<@mx.example.com,@hosted.example:victim@victim.example>
<"victim@victim.example"@hosted.example>
<"victim%victim.example"@hosted.example>
<"victim@victim.example">
<"victim@hosted.example> ORCPT=rfc822;x"@victim.example>
<victim@[127.0.0.1]>
<victim@[192.0.2.1]>
<victim@[IPv6:::1]>
<victim@[hosted.example]>
<victim@localhost>
<victim@mx.example.com>
<victim@example.com>
<victim@hosted.example.>
<victim@>
<victim>
<>
victim@victim.example
victim@hosted.example
<victim@hosted.example>,<victim@victim.example>
<victim@hosted.example> <victim@victim.example>
<postmaster@victim.example>
<abuse@victim.example>
<postmaster%victim.example@mx.example.com>`, "\n")
}
