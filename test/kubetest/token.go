package kubetest

import (
	"fmt"
	"maps"
	"os"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/client-go/util/keyutil"
)

// Resign makes a token that no API server would make: one of its own with other claims, signed anew with its key, which
// is a PEM file.
func Resign(token, keyFile string, change map[string]any) (string, error) {
	data, err := os.ReadFile(keyFile)
	if err != nil {
		return "", err
	}
	key, err := keyutil.ParsePrivateKeyPEM(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", keyFile, err)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return "", err
	}
	claims := map[string]any{}
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return "", err
	}
	maps.Copy(claims, change)
	header := parsed.Headers[0]
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(header.Algorithm), Key: key},
		(&jose.SignerOptions{}).WithHeader("kid", header.KeyID))
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}
