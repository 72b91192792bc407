package bounce

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message"
)

// report is a DSN as a parser of another make sees it.
type report struct {
	header   message.Header
	types    []string // of its parts
	text     string
	message  textproto.MIMEHeader
	per      []textproto.MIMEHeader
	original string
}

// parse reads a DSN and checks what must hold for every one.
func parse(d DSN) (report, error) {
	var r report
	m, err := message.Read(bytes.NewReader(d.Content))
	if err != nil {
		return r, err
	}
	r.header = m.Header
	kind, parameters, err := m.Header.ContentType()
	if err != nil || kind != "multipart/report" || parameters["report-type"] != "delivery-status" {
		return r, fmt.Errorf("content type %s %v: %w", kind, parameters, err)
	}
	if len(parameters["boundary"]) > 70 {
		return r, fmt.Errorf("the boundary %q is too long", parameters["boundary"])
	}
	bodies, err := r.readParts(m.MultipartReader())
	if err != nil {
		return r, err
	}
	r.text, r.original = bodies[0], bodies[2]
	if err := r.checkOctets(d, m.Header.Get("Content-Transfer-Encoding")); err != nil {
		return r, err
	}
	if err := checkFields(bodies[1]); err != nil {
		return r, err
	}
	return r, r.parseStatus(bodies[1])
}

func (r *report) readParts(parts message.MultipartReader) (bodies []string, err error) {
	for {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(p.Body)
		if err != nil {
			return nil, err
		}
		kind, _, err := p.Header.ContentType()
		if err != nil {
			return nil, err
		}
		if eight := p.Header.Get("Content-Transfer-Encoding") == "8bit"; eight == isASCII(body) {
			return nil, fmt.Errorf("part %d says 8bit: %v, and is ASCII: %v", len(bodies), eight, !eight)
		}
		r.types = append(r.types, kind)
		bodies = append(bodies, string(body))
	}
	forms := [][]string{
		{"text/plain"}, {"message/delivery-status", "message/global-delivery-status"},
		{"text/rfc822-headers", "message/rfc822", "message/global-headers", "message/global"},
	}
	if len(bodies) != len(forms) {
		return nil, fmt.Errorf("%d parts", len(bodies))
	}
	for i, form := range forms {
		if !slices.Contains(form, r.types[i]) {
			return nil, fmt.Errorf("part %d is %s", i, r.types[i])
		}
	}
	return bodies, nil
}

// checkOctets: what needs no 8BITMIME is ASCII, only a header needs SMTPUTF8, and all but what is returned whole is
// text with lines that are not too long.
func (r *report) checkOctets(d DSN, encoding string) error {
	if d.EightBit == isASCII(d.Content) || d.EightBit != (encoding == "8bit") {
		return fmt.Errorf("8BITMIME is said to be needed: %v, encoding %q", d.EightBit, encoding)
	}
	header, _, _ := bytes.Cut(d.Content, []byte("\r\n\r\n"))
	if !d.UTF8 && !isASCII(header) {
		return fmt.Errorf("SMTPUTF8 is said to be needed: %v, and the header is %q", d.UTF8, header)
	}
	ours := d.Content
	if r.types[2] == "message/rfc822" || r.types[2] == "message/global" {
		ours = bytes.Replace(ours, []byte(r.original), nil, 1)
	}
	for line := range bytes.Lines(ours) {
		text, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if !ok || len(text) > 998 || bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) || !utf8.Valid(text) {
			return fmt.Errorf("line %q", line)
		}
	}
	return nil
}

// fields are those of RFC 3464 §2 that we write, with what their values look like.
var fields = map[string]*regexp.Regexp{
	"Original-Envelope-Id": regexp.MustCompile(`.`),
	"Reporting-MTA":        regexp.MustCompile(`^dns;`),
	"Original-Recipient":   regexp.MustCompile(`^[A-Za-z0-9._-]+;`),
	"Final-Recipient":      regexp.MustCompile(`^(rfc822|utf-8);`),
	"Action":               regexp.MustCompile(`^(failed|delayed|relayed|delivered)$`),
	"Status":               regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}$`),
	"Remote-MTA":           regexp.MustCompile(`^dns;`),
	"Diagnostic-Code":      regexp.MustCompile(`^(smtp|X-Postrider);`),
	"Final-Log-ID":         regexp.MustCompile(``),
}

// checkFields reads the report line by line, without a parser: fields that are known, dates that are dates.
func checkFields(body string) error {
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == ' ' {
			continue
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			name, _, ok = strings.Cut(line, ":")
		}
		form, known := fields[name]
		switch {
		case !ok:
			return fmt.Errorf("%q is no field", line)
		case known && form.MatchString(value):
		case known:
			return fmt.Errorf("%q is malformed", line)
		default:
			if _, err := mail.ParseDate(value); err != nil || !strings.HasSuffix(name, "-Date") && name != "Will-Retry-Until" {
				return fmt.Errorf("%q is no field of ours", line)
			}
		}
	}
	return nil
}

// parseStatus reads the groups of fields, and wants in each what RFC 3464 requires.
func (r *report) parseStatus(body string) error {
	fields := textproto.NewReader(bufio.NewReader(strings.NewReader(body + "\r\n")))
	var err error
	if r.message, err = fields.ReadMIMEHeader(); err != nil {
		return err
	}
	for {
		group, err := fields.ReadMIMEHeader()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		r.per = append(r.per, group)
		for _, required := range []string{"Final-Recipient", "Action", "Status"} {
			if len(group.Values(required)) != 1 {
				return fmt.Errorf("%d fields %s in %v", len(group.Values(required)), required, group)
			}
		}
	}
	if len(r.message.Values("Reporting-Mta")) != 1 {
		return fmt.Errorf("no reporting MTA in %v", r.message)
	}
	return nil
}
