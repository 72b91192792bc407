package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/postrider/postrider/relay/config"
)

const (
	issuer   = "https://kubernetes.default.svc"
	audience = "postrider.dev/mail/outbound"
	checkout = "system:serviceaccount:shop:checkout"
)

// cluster signs tokens as an API server does.
type cluster struct {
	t      testing.TB
	file   string
	public map[string]any
	rsa    *rsa.PrivateKey
	ecdsa  *ecdsa.PrivateKey
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, file: filepath.Join(t.TempDir(), "keys.json")}
	var err error
	if c.rsa, err = rsa.GenerateKey(rand.Reader, minRSA); err != nil {
		t.Fatal(err)
	}
	if c.ecdsa, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	c.public = map[string]any{"rsa": c.rsa.Public(), "ec": c.ecdsa.Public()}
	c.publish()
	return c
}

// publish writes the keys as the operator does.
func (c *cluster) publish() {
	c.t.Helper()
	var set jose.JSONWebKeySet
	for id, key := range c.public {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key, KeyID: id, Use: "sig"})
	}
	keys, err := json.Marshal(set)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(config.TokenKeys{Issuer: issuer, Keys: keys})
}

func (c *cluster) write(k config.TokenKeys) {
	c.t.Helper()
	data, err := json.Marshal(k)
	if err == nil {
		err = os.WriteFile(c.file, data, 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// claimsAt are those of a good token, of an account that is older than a moment.
func claimsAt(now time.Time) map[string]any {
	return map[string]any{
		"iss": issuer, "sub": checkout, "aud": []string{audience}, "jti": "1",
		"iat": now.Add(-2 * newFor).Unix(), "nbf": now.Add(-2 * newFor).Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "checkout", "uid": "u1"}},
	}
}

// sign makes a token. The header says which algorithm and key it is of, whatever key really signs.
func (c *cluster) sign(algorithm jose.SignatureAlgorithm, id string, key any, claims map[string]any) string {
	c.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", id))
	if err != nil {
		c.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		c.t.Fatal(err)
	}
	return token
}

// token is a good one, but for the claims that are given; nil takes one away.
func (c *cluster) token(now time.Time, change map[string]any) string {
	claims := claimsAt(now)
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return c.sign(jose.RS256, "rsa", c.rsa, claims)
}

func (c *cluster) tokens() *Tokens {
	c.t.Helper()
	tokens := NewTokens()
	if err := tokens.Load(Rules{Audience: audience, Accounts: map[string]string{checkout: "u1"}}, c.file); err != nil {
		c.t.Fatal(err)
	}
	return tokens
}

func (c *cluster) check(tokens *Tokens, user, token string, want error) {
	c.t.Helper()
	who, err := tokens.Check(c.t.Context(), user, token)
	switch {
	case want == nil && (err != nil || who != Identity{Name: checkout, UID: "u1"}):
		c.t.Errorf("%q and %v", who, err)
	case want != nil && (!errors.Is(err, want) || who != Identity{}):
		c.t.Errorf("%q and %v, want %v", who, err, want)
	}
}

// TestTokenClaims: each claim wrong in turn, in a token that is genuine.
func TestTokenClaims(t *testing.T) {
	c := newCluster(t)
	tokens, now := c.tokens(), time.Now()
	account := func(namespace, name, uid string) map[string]any {
		return map[string]any{"kubernetes.io": map[string]any{"namespace": namespace, "serviceaccount": map[string]any{"name": name, "uid": uid}}}
	}
	at := func(claim string, d time.Duration) map[string]any { return map[string]any{claim: now.Add(d).Unix()} }
	for name, test := range map[string]struct {
		change map[string]any
		want   error
	}{
		"good":                       {nil, nil},
		"audience not in a list":     {map[string]any{"aud": audience}, nil},
		"one audience of two":        {map[string]any{"aud": []string{"vault", audience}}, nil},
		"another audience":           {map[string]any{"aud": []string{"postrider.dev/mail/other"}}, ErrWrong},
		"audience of another case":   {map[string]any{"aud": []string{strings.ToUpper(audience)}}, ErrWrong},
		"no audience":                {map[string]any{"aud": nil}, ErrWrong},
		"empty audience":             {map[string]any{"aud": []string{}}, ErrWrong},
		"audience that is no text":   {map[string]any{"aud": 1}, ErrWrong},
		"good for the API server":    {map[string]any{"aud": []string{audience, issuer}}, ErrWrong},
		"another issuer":             {map[string]any{"iss": "https://other.example"}, ErrWrong},
		"no issuer":                  {map[string]any{"iss": nil}, ErrWrong},
		"expired":                    {at("exp", -leeway-2*time.Second), ErrWrong},
		"expired by another clock":   {at("exp", -leeway/2), nil},
		"no expiry":                  {map[string]any{"exp": nil}, ErrWrong},
		"expires in a day":           {at("exp", maxLife), nil},
		"expires too late":           {at("exp", maxLife+leeway+2*time.Second), ErrWrong},
		"expires at the end of time": {map[string]any{"exp": 1e300}, ErrWrong},
		"expiry that is no number":   {map[string]any{"exp": "tomorrow"}, ErrWrong},
		"not valid yet":              {at("nbf", leeway+2*time.Second), ErrWrong},
		"valid by another clock":     {at("nbf", leeway/2), nil},
		"issued in the future":       {at("iat", leeway+2*time.Second), ErrWrong},
		"not issued":                 {map[string]any{"iat": nil}, ErrWrong},
		"no claims of Kubernetes":    {map[string]any{"kubernetes.io": nil}, ErrWrong},
		"another name in them":       {account("shop", "admin", "u1"), ErrWrong},
		"another namespace in them":  {account("default", "checkout", "u1"), ErrWrong},
		"no uid":                     {account("shop", "checkout", ""), ErrWrong},
		"made again":                 {account("shop", "checkout", "u2"), ErrWrong},
		"not a ServiceAccount":       {map[string]any{"sub": "kubernetes-admin"}, ErrWrong},
		"no subject":                 {map[string]any{"sub": nil}, ErrWrong},
		"an account nobody names": {map[string]any{"sub": "system:serviceaccount:shop:billing",
			"kubernetes.io": account("shop", "billing", "u3")["kubernetes.io"]}, ErrWrong},
		"an account of another namespace": {map[string]any{"sub": "system:serviceaccount:evil:checkout",
			"kubernetes.io": account("evil", "checkout", "u1")["kubernetes.io"]}, ErrWrong},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cluster{t: t, rsa: c.rsa}
			c.check(tokens, "checkout", c.token(now, test.change), test.want)
		})
	}
	if tokens.Wanted() {
		t.Error("one of them asked for a key")
	}
}

// TestTokenSignatures: what is signed with anything but the issuer's key, by the algorithm of that key.
func TestTokenSignatures(t *testing.T) {
	c := newCluster(t)
	now := time.Now()
	claims := claimsAt(now)
	strangerRSA, _ := rsa.GenerateKey(rand.Reader, minRSA)
	strangerEC, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	good := c.token(now, nil)
	parts := strings.Split(good, ".")
	header := func(json string) string { return base64.RawURLEncoding.EncodeToString([]byte(json)) }
	// The public key as the secret of an HMAC: the classic confusion of algorithms.
	confused := c.sign(jose.HS256, "rsa", c.rsa.N.Bytes(), claims)
	other := claimsAt(now)
	other["sub"] = "system:serviceaccount:shop:admin"
	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"RS256":                       {good, nil},
		"ES256":                       {c.sign(jose.ES256, "ec", c.ecdsa, claims), nil},
		"a stranger's RSA key":        {c.sign(jose.RS256, "rsa", strangerRSA, claims), ErrWrong},
		"a stranger's EC key":         {c.sign(jose.ES256, "ec", strangerEC, claims), ErrWrong},
		"HS256 with the public key":   {confused, ErrWrong},
		"RS512":                       {c.sign(jose.RS512, "rsa", c.rsa, claims), ErrWrong},
		"PS256":                       {c.sign(jose.PS256, "rsa", c.rsa, claims), ErrWrong},
		"RS256 that names the EC key": {c.sign(jose.RS256, "ec", c.rsa, claims), ErrWrong},
		"ES256 that names the RSA":    {c.sign(jose.ES256, "rsa", c.ecdsa, claims), ErrWrong},
		"no key":                      {c.sign(jose.RS256, "", c.rsa, claims), ErrWrong},
		"none":                        {header(`{"alg":"none","kid":"rsa"}`) + "." + parts[1] + ".", ErrWrong},
		"none with a signature":       {header(`{"alg":"none","kid":"rsa"}`) + "." + parts[1] + "." + parts[2], ErrWrong},
		"no signature":                {parts[0] + "." + parts[1] + ".", ErrWrong},
		"a signature of other claims": {strings.Join([]string{parts[0], strings.Split(c.token(now, other), ".")[1], parts[2]}, "."), ErrWrong},
		"an extension that is vital":  {header(`{"alg":"RS256","kid":"rsa","crit":["x"],"x":1}`) + "." + parts[1] + "." + parts[2], ErrWrong},
		"a key of its own": {header(`{"alg":"RS256","jwk":{"kty":"RSA","n":"`+
			base64.RawURLEncoding.EncodeToString(strangerRSA.N.Bytes())+`","e":"AQAB"}}`) + "." + parts[1] + "." + parts[2], ErrWrong},
		"not a token": {"eyJ" + strings.Repeat("x", 80) + ".x.y", ErrWrong},
		"empty":       {"", ErrWrong},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cluster{t: t, file: c.file}
			c.check(c.tokens(), "", test.token, test.want)
		})
	}
}

// TestTokenNames: the name beside a token is none, the account's own or the whole subject.
func TestTokenNames(t *testing.T) {
	c := newCluster(t)
	tokens, token := c.tokens(), c.token(time.Now(), nil)
	for user, want := range map[string]error{
		"": nil, "checkout": nil, checkout: nil,
		"Checkout": ErrWrong, "shop:checkout": ErrWrong, "admin": ErrWrong, "out": ErrWrong, ":checkout": ErrWrong,
	} {
		c.check(tokens, user, token, want)
	}
}

// TestKeysThatAreUnknown: a key that was rotated in is trouble of ours, and asked for; only by a token that would be
// good otherwise.
func TestKeysThatAreUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		tokens, now := c.tokens(), time.Now()
		next, _ := rsa.GenerateKey(rand.Reader, minRSA)
		stray := claimsAt(now)
		stray["aud"] = "other"
		c.check(tokens, "", c.sign(jose.RS256, "next", next, stray), ErrWrong)
		if tokens.Wanted() {
			t.Fatal("a token for somebody else asks for a key")
		}
		token := c.sign(jose.RS256, "next", next, claimsAt(now))
		c.check(tokens, "", token, ErrBusy)
		if !tokens.Wanted() {
			t.Fatal("the key is not asked for")
		}
		time.Sleep(wantedFor)
		if tokens.Wanted() {
			t.Error("the key is asked for without end")
		}
		c.check(tokens, "", token, ErrBusy)
		c.public["next"] = next.Public()
		c.publish()
		if err := tokens.Load(tokens.rules.Load().Rules, c.file); err != nil {
			t.Fatal(err)
		}
		if tokens.Wanted() {
			t.Error("it is asked for although it is there")
		}
		c.check(tokens, "", token, nil)
	})
}

// TestNewAccounts: the configuration follows the cluster by seconds. For as long a fresh token is not refused for good.
func TestNewAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		tokens, now := c.tokens(), time.Now()
		fresh := c.token(now, map[string]any{"iat": now.Unix(), "nbf": now.Unix(), "sub": "system:serviceaccount:shop:new",
			"kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "new", "uid": "u9"}}})
		c.check(tokens, "new", fresh, ErrBusy)
		if tokens.Wanted() {
			t.Error("an account that is unknown asks for keys")
		}
		time.Sleep(newFor)
		c.check(tokens, "new", fresh, ErrWrong)
	})
}

// TestRevocation: a deleted account, a withdrawn key, another audience and the end of a token bite although the
// token was right a moment before.
func TestRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		now := time.Now()
		soon := func() map[string]any {
			return map[string]any{"exp": time.Now().Add(cacheFor/2 - leeway - time.Second).Unix()}
		}
		token := c.token(now, soon())
		accounts := map[string]string{checkout: "u1"}
		for name, change := range map[string]func(*Tokens) error{
			"deleted":  func(k *Tokens) error { return k.Load(Rules{Audience: audience}, c.file) },
			"audience": func(k *Tokens) error { return k.Load(Rules{Audience: "other", Accounts: accounts}, c.file) },
			"end":      func(*Tokens) error { time.Sleep(cacheFor / 2); return nil },
		} {
			tokens := c.tokens()
			c.check(tokens, "", token, nil)
			if err := change(tokens); err != nil {
				t.Fatal(err)
			}
			if _, err := tokens.Check(t.Context(), "", token); !errors.Is(err, ErrWrong) {
				t.Errorf("%s: %v", name, err)
			}
			token = c.token(time.Now(), soon())
		}
		tokens := c.tokens()
		c.check(tokens, "", token, nil)
		delete(c.public, "rsa")
		c.publish()
		if err := tokens.Load(Rules{Audience: audience, Accounts: accounts}, c.file); err != nil {
			t.Fatal(err)
		}
		c.check(tokens, "", token, ErrBusy)
	})
}

// TestTokenCache: a token that was right is not verified again for a while. Its signature alone is remembered.
func TestTokenCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		tokens := c.tokens()
		token := c.token(time.Now(), nil)
		c.check(tokens, "", token, nil)
		c.check(tokens, "", token+"x", ErrWrong)
		if n := len(tokens.cache.entries); n != 1 {
			t.Errorf("%d entries", n)
		}
		id := tokens.cache.key(tokens.rules.Load().keys.digest, audience, token)
		if _, known := tokens.cache.get(id, time.Now().Add(cacheFor-time.Second)); !known {
			t.Error("it is not remembered")
		}
		if _, known := tokens.cache.get(id, time.Now().Add(cacheFor)); known {
			t.Error("it is remembered too long")
		}
	})
}

// TestKeysThatCannotBeRead: our trouble is temporary, and keys that were there stay.
func TestKeysThatCannotBeRead(t *testing.T) {
	c := newCluster(t)
	token := c.token(time.Now(), nil)
	c.check(NewTokens(), "", token, ErrBusy)
	rules := Rules{Audience: audience, Accounts: map[string]string{checkout: "u1"}}
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	large, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	set := func(keys ...any) json.RawMessage {
		s := jose.JSONWebKeySet{}
		for _, k := range keys {
			s.Keys = append(s.Keys, jose.JSONWebKey{Key: k, KeyID: "rsa"})
		}
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	good := set(c.rsa.Public())
	for name, k := range map[string]config.TokenKeys{
		"no keys":     {Issuer: issuer, Keys: set()},
		"no issuer":   {Keys: good},
		"no set":      {Issuer: issuer, Keys: json.RawMessage(`"x"`)},
		"symmetric":   {Issuer: issuer, Keys: set([]byte("secret secret secret secret secret"))},
		"short":       {Issuer: issuer, Keys: set(crypto.PublicKey(&weak.PublicKey))},
		"other curve": {Issuer: issuer, Keys: set(large.Public())},
		"private":     {Issuer: issuer, Keys: set(c.rsa)},
	} {
		c.write(k)
		tokens := NewTokens()
		if err := tokens.Load(rules, c.file); err == nil {
			t.Errorf("%s: no error", name)
		}
		c.check(tokens, "", token, ErrBusy)
	}
	c.publish()
	tokens := c.tokens()
	for _, file := range []string{"missing", c.file + "/x"} {
		if err := tokens.Load(rules, file); err == nil {
			t.Errorf("%s was read", file)
		}
	}
	c.check(tokens, "", token, nil)
}

// TestAPasswordThatWasChangedHoldsNoMore: nor does that of a user who was removed. Tokens are none of its business.
func TestAPasswordThatWasChangedHoldsNoMore(t *testing.T) {
	c := newCluster(t)
	users, err := load(t, "alice:"+hash(t, "secret"), "bob:"+hash(t, "secret"), "carol:"+hash(t, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	gate := Gate{users, c.tokens()}
	prove := func(user, password string) Identity {
		who, err := gate.Password(t.Context(), user, password)
		if err != nil || !gate.Holds(who) {
			t.Fatalf("%s: %v, %v", user, who, err)
		}
		return who
	}
	alice, bob, carol, pod := prove("alice", "secret"), prove("bob", "secret"), prove("carol", "secret"), prove("checkout", c.token(time.Now(), nil))
	now, err := load(t, "alice:"+hash(t, "changed"), "carol:"+carol.hash)
	if err != nil {
		t.Fatal(err)
	}
	users.table.Store(now.table.Load())
	for name, test := range map[string]struct {
		who  Identity
		gate Gate
		want bool
	}{
		"changed": {alice, gate, false}, "removed": {bob, gate, false}, "as it was": {carol, gate, true},
		"a token": {pod, gate, true}, "no passwords any more": {carol, Gate{Tokens: gate.Tokens}, false},
	} {
		if got := test.gate.Holds(test.who); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestGate: a token may stand where a password does, and a listener takes what it has something to hold against.
func TestGate(t *testing.T) {
	c := newCluster(t)
	token := c.token(time.Now(), nil)
	users, err := load(t, "alice:"+hash(t, "secret"), "checkout:"+hash(t, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	both, passwords, tokens := Gate{users, c.tokens()}, Gate{Users: users}, Gate{Tokens: c.tokens()}
	for name, test := range map[string]struct {
		gate           Gate
		user, password string
		want           string
	}{
		"a password":                      {both, "alice", "secret", "alice"},
		"a token":                         {both, "checkout", token, checkout},
		"a user of the account's name":    {both, "checkout", "secret", "checkout"},
		"a token under a user's name":     {both, "alice", token, ""},
		"a token where none are taken":    {passwords, "checkout", token, ""},
		"a password where none are taken": {tokens, "alice", "secret", ""},
		"nothing":                         {tokens, "checkout", "", ""},
	} {
		got, err := test.gate.Password(t.Context(), test.user, test.password)
		if got.Name != test.want && err == nil || (err == nil) != (test.want != "") {
			t.Errorf("%s: %q and %v", name, got, err)
		}
	}
	if _, err := passwords.Token(t.Context(), "alice", "secret"); !errors.Is(err, ErrWrong) || passwords.TakesTokens() || !tokens.TakesTokens() {
		t.Errorf("a password as a token: %v", err)
	}
}

// BenchmarkToken: a token that was not seen before, and one that was.
func BenchmarkToken(b *testing.B) {
	c := newCluster(b)
	tokens, token := c.tokens(), c.token(time.Now(), nil)
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			clear(tokens.cache.entries)
			c.check(tokens, "", token, nil)
		}
	})
	b.Run("cached", func(b *testing.B) {
		for b.Loop() {
			c.check(tokens, "", token, nil)
		}
	})
}
