//go:build interop

package interop

import (
	"encoding/json"
	"strings"
)

// submission is what smtplib is told to send, and how.
type submission struct {
	Host string `json:"host"`
	Port int    `json:"port"`
	// CA is the file of the authority of the relay's certificate, which must be for Host.
	CA string `json:"ca"`
	// TLS is starttls, implicit or empty.
	TLS string `json:"tls"`
	// Mechanism of AUTH; empty for none.
	Mechanism string `json:"mechanism"`
	User      string `json:"user"`
	Password  string `json:"password"`
	// Source is the address that the client has; empty for 127.0.0.1.
	Source      string   `json:"source"`
	From        string   `json:"from"`
	To          []string `json:"to"`
	MailOptions []string `json:"mailOptions"`
	RcptOptions []string `json:"rcptOptions"`
	Message     string   `json:"message"`
}

// sent is what came of it.
type sent struct {
	// Features are what the relay offered.
	Features map[string]string
	// Code is 250, or that of the refusal, and Reply its text; 0 when every recipient was refused.
	Code  int
	Reply string
	// Refused are the replies by recipient.
	Refused map[string][2]any
}

// send hands a message to the relay with Python's smtplib.
func (r *relay) send(s submission) sent {
	r.t.Helper()
	if s.Host == "" {
		s.Host = r.bind
	}
	if s.Port == 0 {
		s.Port = portSMTP
	}
	s.CA, s.User, s.Password = caFile(), user, password
	s.MailOptions, s.RcptOptions = append([]string{}, s.MailOptions...), append([]string{}, s.RcptOptions...) // a list in JSON
	input, err := json.Marshal(s)
	r.must(err)
	var result sent
	r.must(python("testdata/smtp.py", input, &result))
	return result
}

// accepts sends a message and wants every recipient taken.
func (r *relay) accepts(s submission) {
	r.t.Helper()
	if got := r.send(s); got.Code != 250 || len(got.Refused) > 0 {
		r.t.Fatalf("%d %s, refused %v", got.Code, got.Reply, got.Refused)
	}
}

// text is a message with 8-bit text, lines that begin with dots, and as many further lines as asked for.
func text(from, to, subject string, more int) string {
	return lines("From: "+from, "To: "+to, "Subject: "+subject, "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8",
		"Content-Transfer-Encoding: 8bit", "Message-ID: <"+strings.ReplaceAll(subject, " ", "-")+"@client.test>",
		"Date: Mon, 23 Nov 2026 09:00:00 +0000", "", "Grüße,", ".", "..two dots", "") + strings.Repeat(lines("a line of text, again and again"), more)
}
