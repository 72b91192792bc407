package traffic

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestMessageEndsAtTheDotAlone(t *testing.T) {
	for _, message := range []string{
		"",
		"a\r\n",
		"Subject: x\r\n\r\nbody.\r\n..stuffed\r\n.x\r\n. \r\n",
		"\n.\n\r\n.\n\n.\r\n\r.\r\n.\r.\r\n..\r\n",
		strings.Repeat("0123456789abcdef\r\n", 20),
	} {
		stream := "\r\n" + message + ".\r\nQUIT.\r\n.\r\n"
		for first := range len(stream) {
			for _, room := range []int{7, 1024} {
				checkMessage(t, stream, message, first, room)
			}
		}
	}
}

// checkMessage reads a message from a stream that comes in two parts.
func checkMessage(t *testing.T, stream, message string, first, room int) {
	t.Helper()
	r := io.MultiReader(strings.NewReader(stream[:first]), strings.NewReader(stream[first:]))
	in := input{buffer: make([]byte, room)}
	var got bytes.Buffer
	for {
		octets, done := in.message()
		got.Write(octets)
		if done {
			break
		}
		if err := in.fill(r); err != nil {
			t.Fatalf("%q cut at %d: %v", message, first, err)
		}
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != "\r\n"+message {
		t.Errorf("%q cut at %d, room for %d: got %q", message, first, room, got.String())
	}
	if after := string(in.ahead()) + string(rest); after != "QUIT.\r\n.\r\n" {
		t.Errorf("%q cut at %d, room for %d: %q comes after", message, first, room, after)
	}
}

func TestLines(t *testing.T) {
	r := strings.NewReader("EHLO a\r\nNOOP\nlonger than the buffer")
	in := input{buffer: make([]byte, 10)}
	var lines []string
	var err error
	for err == nil {
		if line, ok := in.line(); ok {
			lines = append(lines, string(line))
		} else {
			err = in.fill(r)
		}
	}
	if strings.Join(lines, "|") != "EHLO a|NOOP" || !errors.Is(err, errLongLine) {
		t.Errorf("got %q, then %v", lines, err)
	}
}
