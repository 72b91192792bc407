package deliver

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/postrider/postrider/relay/reply"
)

// What a reply may cost us. A server has no reason to come near any of these.
const (
	maxReplyOctets = 64 << 10
	maxReplyLines  = 100
	keptOfLine     = 2 << 10
	keptOfReply    = 8 << 10
)

// protocolError says that what came is no SMTP reply.
type protocolError string

func (e protocolError) Error() string { return string(e) }

// readReply reads one reply of one or more lines (RFC 5321 §4.2.1). What it keeps of an over-long text is bounded;
// what it reads, too. The caller bounds the time.
func readReply(r *bufio.Reader) (reply.Reply, error) {
	var answer reply.Reply
	var text []string
	octets, kept := 0, 0
	for range maxReplyLines {
		line, n, err := readLine(r, maxReplyOctets-octets)
		if err != nil {
			return reply.Reply{}, err
		}
		octets += n
		code, last, rest, err := parseLine(line)
		if err != nil {
			return reply.Reply{}, err
		}
		if answer.Code != 0 && code != answer.Code {
			return reply.Reply{}, protocolError(fmt.Sprintf("the lines of a reply have different codes, %d and %d", answer.Code, code))
		}
		answer.Code = code
		if kept += len(rest); kept <= keptOfReply {
			text = append(text, rest)
		}
		if last {
			answer.Enhanced, answer.Text = enhanced(code, text)
			return answer, nil
		}
	}
	return reply.Reply{}, protocolError(fmt.Sprintf("a reply has more than %d lines", maxReplyLines))
}

// readLine reads a line of at most limit octets, keeps the beginning of it without the line end, and says how many
// octets it had.
func readLine(r *bufio.Reader, limit int) (string, int, error) {
	var kept []byte
	octets := 0
	for {
		piece, err := r.ReadSlice('\n')
		octets += len(piece)
		if octets > limit {
			return "", octets, protocolError(fmt.Sprintf("a reply has more than %d octets", maxReplyOctets))
		}
		kept = append(kept, piece[:min(len(piece), keptOfLine-len(kept))]...)
		if err == nil {
			return strings.TrimRight(string(kept), "\r\n"), octets, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", octets, err
		}
	}
}

// parseLine takes "250-text" apart.
func parseLine(line string) (code int, last bool, text string, err error) {
	if len(line) < 3 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, false, "", protocolError(fmt.Sprintf("%.100q is no reply", line))
	}
	for _, c := range []byte(line[:3]) {
		if c < '0' || c > '9' {
			return 0, false, "", protocolError(fmt.Sprintf("%.100q is no reply", line))
		}
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 {
		return 0, false, "", protocolError(fmt.Sprintf("there is no reply code %d", code))
	}
	if len(line) == 3 {
		return code, true, "", nil
	}
	return code, line[3] == ' ', printable(line[4:]), nil
}

// printable makes control characters, those that turn or hide text, and octets that are not UTF-8 visible as "?".
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) && r != '\t' || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}

// enhanced takes the enhanced status code off the lines of a reply (RFC 2034 §4). One whose class does not fit the
// code is left in the text.
func enhanced(code int, lines []string) (status, text string) {
	if len(lines) == 0 {
		return "", ""
	}
	first, _, _ := strings.Cut(lines[0], " ")
	if !isEnhanced(first) || int(first[0]-'0') != code/100 {
		return "", strings.Join(lines, "\n")
	}
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, first); ok && (rest == "" || rest[0] == ' ') {
			lines[i] = strings.TrimPrefix(rest, " ")
		}
	}
	return first, strings.Join(lines, "\n")
}

// isEnhanced recognises class.subject.detail (RFC 3463 §2).
func isEnhanced(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("245", parts[0]) {
		return false
	}
	for _, p := range parts[1:] {
		if p == "" || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}
