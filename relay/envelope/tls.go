package envelope

import (
	"crypto/tls"
	"strings"
)

// TLS names what protects a connection. It is nil in clear.
type TLS struct {
	// Version is that of the protocol, such as TLS1.3.
	Version string
	// Cipher is the suite's name at IANA, such as TLS_AES_128_GCM_SHA256.
	Cipher string
}

// NewTLS looks the names up, once for a connection: finding them takes longer than encrypting a small message.
func NewTLS(state tls.ConnectionState) *TLS {
	return &TLS{
		Version: strings.ReplaceAll(tls.VersionName(state.Version), " ", ""),
		Cipher:  tls.CipherSuiteName(state.CipherSuite),
	}
}

// String is both names, empty in clear.
func (t *TLS) String() string {
	if t == nil {
		return ""
	}
	return t.Version + " " + t.Cipher
}
