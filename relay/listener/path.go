package listener

import "strings"

// cutPath takes the arguments of MAIL or RCPT apart: the keyword, a path in brackets, parameters. Brackets and
// spaces within a quoted local part belong to the path. Nothing in it is decoded.
func cutPath(args, keyword string) (path string, params []string, ok bool) {
	if len(args) < len(keyword) || !strings.EqualFold(args[:len(keyword)], keyword) || !isPrintable(args) {
		return "", nil, false
	}
	// A space before the path is wrong (RFC 5321 §3.3), and harmless.
	rest, ok := strings.CutPrefix(strings.TrimLeft(args[len(keyword):], " "), "<")
	if !ok {
		return "", nil, false
	}
	end := closingBracket(rest)
	if end < 0 {
		return "", nil, false
	}
	path, rest = rest[:end], rest[end+1:]
	if rest != "" && rest[0] != ' ' {
		return "", nil, false
	}
	return path, strings.Fields(rest), true
}

// closingBracket is the index of the first ">" outside quotes, -1 without one.
func closingBracket(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}

// isPrintable says that there is no control character in s: no NUL, CR, LF or tab.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
