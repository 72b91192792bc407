package bounce

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/reply"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("CET", 3600))

const hop = "mx1.example.com[192.0.2.1]:25"

func recipient(address string, code int, status, text, hop string) envelope.Recipient {
	return envelope.Recipient{Address: address, State: envelope.Failed, Last: &envelope.Outcome{
		Reply: reply.Reply{Code: code, Enhanced: status, Text: text}, NextHop: hop, At: now.Add(-time.Minute)}}
}

func notice(action Action, recipients ...envelope.Recipient) Notice {
	return Notice{
		ID: "01JDSN", ReportingMTA: "relay.example.com", From: "postmaster@example.com", Action: action,
		Envelope:   envelope.Envelope{ID: "01JMSG", ReversePath: "alice@sender.example", Accepted: now.Add(-time.Hour)},
		Recipients: recipients, Now: now,
		Original: []byte("From: Alice <alice@sender.example>\r\nTo: bob@example.com\r\nSubject: Lunch\r\n\r\n"),
	}
}

// asked is what a sender said that knows RFC 3461.
func asked(n Notice) Notice {
	n.Envelope.EnvelopeID = "QQ314159 +x"
	for i := range n.Recipients {
		n.Recipients[i].Original = "rfc822;Bob+lunch@example.com"
	}
	return n
}

// whole has a message returned whole.
func whole(n Notice, body string) Notice {
	n.Original, n.Whole = append(n.Original, body...), true
	return n
}

// international is what came over SMTPUTF8.
func international(n Notice) Notice {
	n.Envelope.UTF8, n.Envelope.ReversePath = true, "älice@sender.example"
	n.Original = []byte("From: Älice <älice@sender.example>\r\nTo: böb@bücher.example\r\nSubject: Grüße\r\n\r\n")
	return n
}

// bob is refused, or not.
func bob(code int, status, text string) envelope.Recipient {
	return recipient("bob@example.com", code, status, text, hop)
}

func cases() map[string]Notice {
	delayed := notice(Delayed, bob(451, "4.7.1", "Greylisted\nTry later"))
	delayed.Until = now.Add(24 * time.Hour)
	hostile := notice(Failed, recipient("b\r\nBcc: eve@evil.test@example.com", 550, "", "no\r\nX-Evil: yes\n\n--postrider-01JDSN\r\x00\xff ümlaut "+strings.Repeat("x", 3000), "evil\r\n[::1]:25"))
	hostile.From, hostile.ReportingMTA = "", "relay.example.com\r\nX-Evil: yes"
	hostile.Envelope.ReversePath = "a\nb@sender.example"
	hostile.Envelope.EnvelopeID = "1\r\nX-Evil: yes"
	hostile.Recipients[0].Original = "rfc822;x\r\n\r\nX-Evil: yes"
	hostile.Original = []byte("--postrider-01JDSN\r\nSubject: gr\xfc\xdfe ü\r\n\tfolded\r\nX: bare\rreturn\x00" + strings.Repeat("y", 5000) + "\nLF: only\r\n\r\nbody")
	utf8 := international(notice(Failed, recipient("böb@bücher.example", 550, "5.1.1", "Unbekannter Empfänger", hop)))
	utf8.Recipients[0].Original = `utf-8;b\x{F6}b@bücher.example`
	xtext := notice(Failed, recipient("böb+a=b@bücher.example", 550, "5.1.1", "Unbekannter Empfänger", hop))
	xtext.Recipients[0].Original = "utf-8;böb@bücher.example"
	return map[string]Notice{
		"failed": asked(notice(Failed, bob(550, "5.1.1", "No such user\nSee https://example.com/550"),
			recipient(`"c d"@example.com`, 552, "", "Too big", "192.0.2.1[192.0.2.1]:25"))),
		"expired": notice(Failed, recipient("bob@example.com", 421, "4.4.1", "connect to mx1.example.com[192.0.2.1]:25: connection refused", ""),
			envelope.Recipient{Address: "never@example.com", State: envelope.Failed}),
		"delayed":        delayed,
		"relayed":        asked(notice(Relayed, bob(250, "2.1.5", "queued as 17"))),
		"delivered":      asked(notice(Delivered, bob(250, "2.0.0", "saved"), envelope.Recipient{Address: "eve@example.com"})),
		"full":           whole(notice(Failed, bob(550, "5.1.1", "No such user")), "--postrider-01JDSN\r\n--postrider-01JDSN-1--\r\nSoup?\r\n"),
		"full-8bit":      whole(notice(Failed, bob(550, "5.1.1", "No such user")), "Sp\xe4tzle?\r\n"),
		"full-malformed": whole(notice(Failed, bob(550, "5.1.1", "No such user")), "bare\nnewline\r\n"),
		"utf8":           utf8,
		"utf8-full":      whole(utf8, "Spätzle?\r\n"),
		"utf8-xtext":     xtext,
		"hostile":        hostile,
	}
}

func TestGolden(t *testing.T) {
	for name, n := range cases() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".eml")
			got := Compose(n).Content
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("differs from %s; -update writes it. Got:\n%s", file, got)
			}
		})
	}
}

// TestParsedBack: a reader of another make finds what was to be said.
func TestParsedBack(t *testing.T) {
	const said = "Wed, 04 Mar 2026 04:05:07 +0000"
	for name, want := range map[string][]map[string]string{
		"failed": {
			{"Original-Recipient": "rfc822;Bob+lunch@example.com", "Final-Recipient": "rfc822; bob@example.com", "Action": "failed",
				"Status": "5.1.1", "Remote-Mta": "dns; mx1.example.com", "Last-Attempt-Date": said, "Final-Log-Id": "01JMSG",
				"Diagnostic-Code": "smtp; 550 5.1.1 No such user; See https://example.com/550", "Will-Retry-Until": ""},
			{"Final-Recipient": `rfc822; "c d"@example.com`, "Action": "failed", "Status": "5.0.0", "Remote-Mta": "dns; [192.0.2.1]",
				"Diagnostic-Code": "smtp; 552 Too big", "Last-Attempt-Date": said},
		},
		"expired": {
			{"Final-Recipient": "rfc822; bob@example.com", "Original-Recipient": "", "Action": "failed", "Status": "5.4.7", "Remote-Mta": "",
				"Diagnostic-Code": "X-Postrider; 421 4.4.1 connect to mx1.example.com[192.0.2.1]:25: connection refused"},
			{"Final-Recipient": "rfc822; never@example.com", "Status": "5.4.7", "Diagnostic-Code": ""},
		},
		"delayed": {
			{"Final-Recipient": "rfc822; bob@example.com", "Action": "delayed", "Status": "4.7.1", "Will-Retry-Until": "Thu, 05 Mar 2026 04:06:07 +0000"},
		},
		"relayed":   {{"Action": "relayed", "Status": "2.1.5", "Diagnostic-Code": "smtp; 250 2.1.5 queued as 17"}},
		"delivered": {{"Action": "delivered", "Status": "2.0.0"}, {"Action": "delivered", "Status": "2.0.0", "Diagnostic-Code": ""}},
		"utf8": {{"Final-Recipient": "utf-8; böb@bücher.example", "Original-Recipient": `utf-8;b\x{F6}b@bücher.example`,
			"Diagnostic-Code": "smtp; 550 5.1.1 Unbekannter Empfänger"}},
		"utf8-xtext": {{"Final-Recipient": `utf-8; b\x{F6}b\x{2B}a\x{3D}b@b\x{FC}cher.example`, "Original-Recipient": `utf-8;b\x{F6}b@b\x{FC}cher.example`,
			"Diagnostic-Code": `smtp; 550 5.1.1 Unbekannter Empf\x{E4}nger`}},
	} {
		t.Run(name, func(t *testing.T) {
			n := cases()[name]
			r, err := parse(Compose(n))
			if err != nil || len(r.per) != len(want) {
				t.Fatalf("%d recipients, %v", len(r.per), err)
			}
			for i, fields := range want {
				for field, value := range fields {
					if got := r.per[i].Get(field); got != value {
						t.Errorf("recipient %d: %s is %q, want %q", i, field, got, value)
					}
				}
			}
			if r.message.Get("Reporting-Mta") != "dns; relay.example.com" || r.message.Get("Arrival-Date") != "Wed, 04 Mar 2026 03:06:07 +0000" ||
				r.message.Get("Original-Envelope-Id") != n.Envelope.EnvelopeID {
				t.Errorf("message fields %v", r.message)
			}
			if r.header.Get("Auto-Submitted") != "auto-replied" || r.header.Get("To") != "<"+n.Envelope.ReversePath+">" ||
				r.header.Get("Message-Id") != "<01JDSN.dsn@relay.example.com>" || r.header.Get("From") != "Mail Delivery System <postmaster@example.com>" {
				t.Errorf("header %v", r.header.Map())
			}
			if want := strings.TrimSuffix(string(n.Original), "\r\n"); r.original != want {
				t.Errorf("original header %q, want %q", r.original, want)
			}
		})
	}
}

// TestForms: which media types carry the report and what is returned, and what the DSN's own envelope needs.
func TestForms(t *testing.T) {
	const rfc3464, rfc6533 = "message/delivery-status", "message/global-delivery-status"
	ascii := international(notice(Failed, bob(550, "5.1.1", "No such user")))
	ascii.Envelope.ReversePath = "alice@sender.example"
	many := whole(notice(Failed, bob(550, "5.1.1", "No such user")), strings.Repeat("Soup?\r\n", MaxWhole/7))
	all := cases()
	all["utf8-ascii-sender"], all["too-long"] = ascii, many
	for name, want := range map[string]struct {
		status, original string
		eightBit, utf8   bool
		returned         string
	}{
		"failed":            {rfc3464, "text/rfc822-headers", false, false, ""},
		"full":              {rfc3464, "message/rfc822", false, false, "Soup?\r\n"},
		"full-8bit":         {rfc3464, "message/rfc822", true, false, "Sp\xe4tzle?\r\n"},
		"full-malformed":    {rfc3464, "text/rfc822-headers", false, false, ""},
		"too-long":          {rfc3464, "text/rfc822-headers", false, false, ""},
		"utf8":              {rfc6533, "message/global-headers", true, true, ""},
		"utf8-full":         {rfc6533, "message/global", true, true, "Spätzle?\r\n"},
		"utf8-ascii-sender": {rfc6533, "message/global-headers", true, false, ""},
		"utf8-xtext":        {rfc3464, "text/rfc822-headers", false, false, ""},
	} {
		n := all[name]
		d := Compose(n)
		r, err := parse(d)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.types[1] != want.status || r.types[2] != want.original || d.EightBit != want.eightBit || d.UTF8 != want.utf8 {
			t.Errorf("%s: %v, 8BITMIME %v, SMTPUTF8 %v, want %+v", name, r.types, d.EightBit, d.UTF8, want)
		}
		if want.returned != "" && r.original != string(n.Original) || !strings.HasSuffix(r.original, want.returned) {
			t.Errorf("%s: returned %q", name, r.original)
		}
	}
}

func TestNothingBreaksOut(t *testing.T) {
	n := cases()["hostile"]
	r, err := parse(Compose(n))
	if err != nil {
		t.Fatal(err)
	}
	if r.header.Get("X-Evil") != "" || r.message.Get("X-Evil") != "" || len(r.per) != 1 || r.per[0].Get("Bcc") != "" || r.per[0].Get("X-Evil") != "" {
		t.Errorf("%+v", r)
	}
	if got := r.per[0].Get("Diagnostic-Code"); !strings.Contains(got, `\x{FC}mlaut`) || !strings.Contains(got, strings.Repeat("x", 150)) {
		t.Errorf("the reply is not whole: %s", got)
	}
	if strings.Contains(r.original, "body") || !strings.Contains(r.original, "LF: only") || !strings.HasPrefix(r.original, "--postrider-01JDSN\r\n") {
		t.Errorf("original header %q", r.original)
	}
	if r.header.Get("From") != "Mail Delivery System:;" {
		t.Errorf("From: %s", r.header.Get("From"))
	}
}

// TestAddressesStayWhole: folding must not put a space into an address.
func TestAddressesStayWhole(t *testing.T) {
	long := strings.Repeat("a", envelope.MaxAddress-len("@example.com")) + "@example.com"
	wide := strings.Repeat("ä", 120) + "@example.com"
	for _, n := range []Notice{
		notice(Failed, recipient(long, 550, "5.1.1", "no", hop)),
		notice(Failed, recipient(wide, 550, "5.1.1", "no", hop)),
		international(notice(Failed, recipient(wide, 550, "5.1.1", "no", hop))),
	} {
		r, err := parse(Compose(n))
		if err != nil {
			t.Fatal(err)
		}
		if _, address, _ := strings.Cut(r.per[0].Get("Final-Recipient"), "; "); strings.Contains(address, " ") {
			t.Errorf("broken: %s", address)
		}
	}
}

func FuzzCompose(f *testing.F) {
	f.Add("ID", "relay.test", "a@b.test", "550", "text\r\n--postrider-ID", "Subject: x\r\n\r\n", false)
	f.Add("ID", "relay.test", "ä@b.test", "5.1.1", "grüße\r\n--postrider-ID--", "Subject: ü\r\n\r\nbody\r\n--postrider-ID--\r\n", true)
	f.Add("", "", "", "", "\x00\xff\u2028", "--\r\n \r\n\tx", true)
	f.Add("x", "h", "a@b;c\r\n", "5.1.1\r\nStatus: 2.0.0", strings.Repeat("ä", 600), "--postrider-x\r\n--postrider-x-1\r\n\r\n\r\n", true)
	f.Add("x", "h", `"a\"b c"@d`, "4.4.7", strings.Repeat("x", 2000), "X: "+strings.Repeat("ü", 2000), false)
	f.Fuzz(func(t *testing.T, id, host, addr, enhanced, text, original string, flag bool) {
		if len(id) > 50 {
			return // ids are ours, and short
		}
		for _, action := range []Action{Failed, Delayed, Relayed, Delivered} {
			n := notice(action, recipient(addr, 550, enhanced, text, host+"["+text), recipient(text, 450, "", addr, ""))
			n.ID, n.ReportingMTA, n.From, n.Envelope.ID, n.Original = id, host, addr, envelope.ID(text), []byte(original)
			n.Envelope.ReversePath, n.Envelope.EnvelopeID, n.Recipients[0].Original = text, host, addr
			n.Envelope.UTF8, n.Whole = flag, flag
			d := Compose(n)
			r, err := parse(d)
			if err != nil {
				t.Fatalf("%v\n%q", err, d.Content)
			}
			if len(r.per) != 2 || r.header.Len() > 9 || len(r.message) > 3 || len(r.per[0]) > 8 {
				t.Fatalf("%+v", r)
			}
		}
	})
}
