package envelope

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode"
)

func TestParseAddress(t *testing.T) {
	for _, test := range []struct {
		in, want string
		err      error
	}{
		{in: "user@example.com", want: "user@example.com"},
		{in: "User+tag@EXAMPLE.Com", want: "User+tag@example.com"},
		{in: `"user"@example.com`, want: "user@example.com"},
		{in: `"a b"@example.com`, want: `"a b"@example.com`},
		{in: `"a\"b\\c"@example.com`, want: `"a\"b\\c"@example.com`},
		{in: `"foo@evil.test> ORCPT=rfc822;z"@good.test`, want: `"foo@evil.test> ORCPT=rfc822;z"@good.test`},
		{in: "user@[192.0.2.1]", want: "user@[192.0.2.1]"},
		{in: "user@[ipv6:2001:DB8::1]", want: "user@[IPv6:2001:db8::1]"},
		{in: "a%b@example.com", want: "a%b@example.com"},
		{in: "x@localhost", want: "x@localhost"},
		{in: strings.Repeat("l", 200) + "@example.com", want: strings.Repeat("l", 200) + "@example.com"},
		{in: strings.Repeat("l", 250) + "@example.com", err: ErrAddressTooLong},
		{in: "ü@example.com", err: ErrAddressNonASCII},
		{in: "u@exämple.com", err: ErrAddressNonASCII},
		{in: "u\x7f@example.com", err: ErrAddressNonASCII},
		{in: "", err: ErrAddressSyntax},
		{in: "user", err: ErrAddressSyntax},
		{in: "@example.com", err: ErrAddressSyntax},
		{in: "user@", err: ErrAddressSyntax},
		{in: `""@example.com`, err: ErrAddressSyntax},
		{in: `"user`, err: ErrAddressSyntax},
		{in: `"user\`, err: ErrAddressSyntax},
		{in: `"user"example.com`, err: ErrAddressSyntax},
		{in: `us"er@example.com`, err: ErrAddressSyntax},
		{in: "u@a@b", err: ErrAddressSyntax},
		{in: "@a,@b:u@c", err: ErrAddressSyntax},
		{in: "a..b@example.com", err: ErrAddressSyntax},
		{in: ".a@example.com", err: ErrAddressSyntax},
		{in: "a.@example.com", err: ErrAddressSyntax},
		{in: "a b@example.com", err: ErrAddressSyntax},
		{in: "a\x00b@example.com", err: ErrAddressSyntax},
		{in: "\"a\rb\"@example.com", err: ErrAddressSyntax},
		{in: "u@example..com", err: ErrAddressSyntax},
		{in: "u@example.com.", err: ErrAddressSyntax},
		{in: "u@-example.com", err: ErrAddressSyntax},
		{in: "u@exa_mple.com", err: ErrAddressSyntax},
		{in: "u@" + strings.Repeat("x", 64) + ".com", err: ErrAddressSyntax},
		{in: "u@[192.0.2.1", err: ErrAddressSyntax},
		{in: "u@[2001:db8::1]", err: ErrAddressSyntax},
		{in: "u@[IPv6:192.0.2.1]", err: ErrAddressSyntax},
		{in: "u@[IPv6:fe80::1%eth0]", err: ErrAddressSyntax},
		{in: "u@[x-tag:data]", err: ErrAddressSyntax},
	} {
		a, err := ParseAddress(test.in)
		if !errors.Is(err, test.err) {
			t.Errorf("ParseAddress(%q): error %v, want %v", test.in, err, test.err)
		}
		if err == nil && a.String() != test.want {
			t.Errorf("ParseAddress(%q) = %q, want %q", test.in, a, test.want)
		}
	}
}

func TestParseAddressUTF8(t *testing.T) {
	for _, test := range []struct {
		in, want string
		err      error
	}{
		{in: "user@example.com", want: "user@example.com"},
		{in: "J\u00f6rg@B\u00fccher.Example", want: "J\u00f6rg@xn--bcher-kva.example"},
		{in: "jo\u0308rg@example.com", want: "jo\u0308rg@example.com"}, // not composed
		{in: "\u7528\u6237@\u4f8b\u5b50.example", want: "\u7528\u6237@xn--fsqu00a.example"},
		{in: "user@b\u00fccher.example", want: "user@xn--bcher-kva.example"},
		{in: "\"\u00f6 x\"@example.com", want: "\"\u00f6 x\"@example.com"},
		{in: "\"\u00f6\"@example.com", want: "\u00f6@example.com"},
		{in: strings.Repeat("\u00f6", 130) + "@x.example", err: ErrAddressTooLong},
		{in: strings.Repeat("u", 238) + "@b\u00fc.example", err: ErrAddressTooLong}, // in A-labels
		{in: "\xff@example.com", err: ErrAddressSyntax},
		{in: "\xc3@example.com", err: ErrAddressSyntax},
		{in: "a\u0085b@example.com", err: ErrAddressSyntax},
		{in: "a\u2028b@example.com", err: ErrAddressSyntax},
		{in: "\"a\u2029b\"@example.com", err: ErrAddressSyntax},
		{in: "\"\\\u00f6\"@example.com", err: ErrAddressSyntax},
		{in: "u\x7f@example.com", err: ErrAddressSyntax},
		{in: "u@a\uff20b.example", err: ErrAddressSyntax},
		{in: "u@\u00fc..example", err: ErrAddressSyntax},
		{in: "u\uff20example.com", err: ErrAddressSyntax},
		{in: "u@[\u00fc]", err: ErrAddressSyntax},
	} {
		a, err := ParseAddressUTF8(test.in)
		if !errors.Is(err, test.err) {
			t.Errorf("ParseAddressUTF8(%q): error %v, want %v", test.in, err, test.err)
		}
		if err == nil && a.String() != test.want {
			t.Errorf("ParseAddressUTF8(%q) = %q, want %q", test.in, a, test.want)
		}
	}
}

func TestNeedsUTF8(t *testing.T) {
	for address, want := range map[string]bool{"": false, "u@xn--bcher-kva.example": false, "\u00f6@example.com": true, "\xff": true} {
		if got := NeedsUTF8(address); got != want {
			t.Errorf("NeedsUTF8(%q) = %v", address, got)
		}
	}
}

// TestAddressRoundTrip: what is written from a parsed address parses to the same address.
func TestAddressRoundTrip(t *testing.T) {
	for local := range 128 {
		for _, text := range []string{string(rune(local)), "a" + string(rune(local)) + "b"} {
			a := Address{Local: text, Domain: "example.com"}
			if local < ' ' || local > '~' {
				continue
			}
			if back, err := ParseAddress(a.String()); err != nil || back != a {
				t.Errorf("%q was written as %q and came back as %q (%v)", text, a, back.Local, err)
			}
		}
	}
}

func TestParseDomain(t *testing.T) {
	for in, want := range map[string]string{
		"Example.COM": "example.com", "bücher.example": "xn--bcher-kva.example",
		"XN--BCHER-KVA.example": "xn--bcher-kva.example", "": "", "a b": "", "exa_mple.com": "", "[192.0.2.1]": "",
	} {
		if got, err := ParseDomain(in); got != want || (err == nil) != (want != "") {
			t.Errorf("ParseDomain(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestLiteral(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1": "[192.0.2.1]", "::ffff:192.0.2.1": "[192.0.2.1]", "2001:db8::1": "[IPv6:2001:db8::1]", "fe80::1%eth0": "[IPv6:fe80::1]"} {
		if got := Literal(netip.MustParseAddr(in)); got != want {
			t.Errorf("Literal(%s) = %s, want %s", in, got, want)
		}
	}
}

// FuzzParseAddress: what is written from an address parses to the same address, and holds nothing that ends a command.
func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{
		"user@example.com", `"a b"@example.com`, "u@[IPv6:::1]", "u@a@b", `"\`, "j\u00f6@b\u00fccher.example", "\"\u00f6\\\"\"@x.example", "\xff@x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddressUTF8(s)
		if err != nil {
			return
		}
		written := a.String()
		if back, err := ParseAddressUTF8(written); err != nil || back != a {
			t.Errorf("%q was written as %q and came back as %q (%v)", s, a, back, err)
		}
		if strings.ContainsFunc(written, unicode.IsControl) || NeedsUTF8(a.Domain) {
			t.Errorf("%q was written as %q", s, written)
		}
		if _, err := ParseAddress(s); (err == nil) == NeedsUTF8(s) {
			t.Errorf("%q: %v without SMTPUTF8", s, err)
		}
	})
}
