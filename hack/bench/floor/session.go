package main

import (
	"bytes"
	"io"

	"github.com/emersion/go-smtp"
)

// session takes messages from one connection.
type session struct {
	store  *store
	letter letter
	record bytes.Buffer
}

// failed answers what went wrong here. An error of no kind would be 554, and mail lost.
var failed = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Try again later"}

func (s *session) Reset() { s.letter = letter{to: s.letter.to[:0]} }

func (*session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.letter.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.letter.to = append(s.letter.to, to)
	return nil
}

// Data is answered 250 when the message is on stable storage.
func (s *session) Data(r io.Reader) error {
	s.record.Reset()
	s.letter.begin(&s.record)
	if _, err := s.record.ReadFrom(r); err != nil {
		return err
	}
	if err := s.store.put(s.record.Bytes()); err != nil {
		return failed
	}
	return nil
}
