package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/postrider/postrider/relay/config"
)

const (
	// maxLife is how far the end of a token may be away: one that is stolen is worth something no longer than that.
	maxLife = 24 * time.Hour
	// leeway is how much the clocks of issuer and relay may differ.
	leeway = 30 * time.Second
	// newFor is how long an account that is unknown may just be so new that the configuration does not hold it yet.
	newFor = time.Minute
	// wantedFor is how long a key that is missing is asked for after a token has named it.
	wantedFor = time.Minute
	// minRSA is the shortest RSA key that is believed, in bits.
	minRSA = 2048
)

// Why a token is not taken. A client hears ErrWrong or ErrBusy alone; the log has the reason.
var (
	errUnknownKey = errors.New("the token names a key that is not known here")
	errNewAccount = errors.New("the account of the token is not known here, or not yet")
)

// Rules are what tokens are held against.
type Rules struct {
	// Audience is whom they must be for.
	Audience string
	// Accounts are the subjects that may authenticate, with the uid that their tokens must hold.
	Accounts map[string]string
}

// Tokens checks JSON Web Tokens (RFC 7519) of ServiceAccounts by their signature, without asking anybody. The zero
// value is not usable; see NewTokens. It is safe for concurrent use.
//
// A check takes some 50 µs of processor time, a thousandth of what a password takes, so that how many run at the same
// time is not bounded.
type Tokens struct {
	now   func() time.Time
	rules atomic.Pointer[rules]
	// cache holds what tokens prove whose signature was right.
	cache cache[proof]
	// wanted is when a token last named an unknown key, in Unix nanoseconds.
	wanted atomic.Int64
}

type rules struct {
	Rules
	keys *keys
}

// keys are the keys of an issuer.
type keys struct {
	issuer string
	set    jose.JSONWebKeySet
	// digest is that of their file.
	digest string
}

// proof is what a token says that was found genuine.
type proof struct {
	subject, uid string
	issued       time.Time
	expires      time.Time
}

// NewTokens returns Tokens that cannot say anything before Load.
func NewTokens() *Tokens { return &Tokens{now: time.Now, cache: newCache[proof]()} }

// Load puts r in force, and the config.TokenKeys in a file. Keys that cannot be read leave those before in force,
// which the error says.
func (t *Tokens) Load(r Rules, file string) error {
	next := &rules{Rules: r}
	before := t.rules.Load()
	if before != nil {
		next.keys = before.keys
	}
	k, err := readKeys(file)
	if err == nil {
		if next.keys == nil || next.keys.digest != k.digest {
			t.wanted.Store(0)
		}
		next.keys = k
	}
	t.rules.Store(next)
	return err
}

func readKeys(file string) (*keys, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	var stored config.TokenKeys
	k := &keys{digest: config.Digest(data)}
	if err := json.Unmarshal(data, &stored); err != nil {
		return nil, fmt.Errorf("token keys in %s: %w", file, err)
	}
	if err := json.Unmarshal(stored.Keys, &k.set); err != nil {
		return nil, fmt.Errorf("token keys in %s: %w", file, err)
	}
	k.issuer = stored.Issuer
	k.set.Keys = slices.DeleteFunc(k.set.Keys, func(key jose.JSONWebKey) bool { return !usable(key) })
	if k.issuer == "" || len(k.set.Keys) == 0 {
		return nil, fmt.Errorf("token keys in %s: there is no issuer, or no public key for RS256 or ES256", file)
	}
	return k, nil
}

// usable says whether a key is one that API servers sign with. A symmetric one, above all, is none.
func usable(k jose.JSONWebKey) bool {
	switch public := k.Key.(type) {
	case *rsa.PublicKey:
		return k.KeyID != "" && public.N.BitLen() >= minRSA
	case *ecdsa.PublicKey:
		return k.KeyID != "" && public.Curve == elliptic.P256()
	default:
		return false
	}
}

// IsToken says whether a password has the form of a token. No password of a user can: bcrypt takes 72 octets.
func IsToken(password string) bool {
	return len(password) > 72 && strings.HasPrefix(password, "eyJ") && strings.Count(password, ".") == 2
}

// Check returns the subject, with its uid, of a token that is genuine, in time, for the audience and of an account that may
// authenticate. user is the name that the client gave: none, the subject or the end of it, the account's own name.
// Otherwise the error is ErrWrong, or ErrBusy where keys are missing: none are there, or not the token's; or where the
// token is so new that its account may be as well.
func (t *Tokens) Check(_ context.Context, user, token string) (Identity, error) {
	r := t.rules.Load()
	if r == nil || r.keys == nil {
		return Identity{}, fmt.Errorf("%w: there are no keys to verify tokens with", ErrBusy)
	}
	p, err := t.prove(r, token)
	if err == nil {
		err = r.admit(p, user, t.now())
	}
	switch {
	case errors.Is(err, errUnknownKey) || errors.Is(err, errNewAccount):
		return Identity{}, fmt.Errorf("%w: %w", ErrBusy, err)
	case err != nil:
		return Identity{}, fmt.Errorf("%w: %w", ErrWrong, err)
	}
	return Identity{Name: p.subject, UID: p.uid}, nil
}

// Wanted says that a token has lately named a key that is not among those in force. They should be fetched anew: the
// issuer may have changed its key.
func (t *Tokens) Wanted() bool {
	at := t.wanted.Load()
	return at != 0 && t.now().Sub(time.Unix(0, at)) < wantedFor
}

// prove is what a token proves. The digest of the keys is part of what it is remembered by: a key that was withdrawn
// is worth nothing at once.
func (t *Tokens) prove(r *rules, token string) (proof, error) {
	now := t.now()
	id := t.cache.key(r.keys.digest, r.Audience, token)
	if p, known := t.cache.get(id, now); known {
		return p, nil
	}
	p, err := r.verify(token, now)
	if errors.Is(err, errUnknownKey) {
		t.wanted.Store(now.UnixNano())
	}
	if err == nil {
		until := now.Add(cacheFor)
		if p.expires.Before(until) {
			until = p.expires
		}
		t.cache.add(id, p, until)
	}
	return p, err
}

// claims are those of a ServiceAccount's token.
type claims struct {
	jwt.Claims
	Kubernetes struct {
		Namespace      string `json:"namespace"`
		ServiceAccount struct {
			Name string `json:"name"`
			UID  string `json:"uid"`
		} `json:"serviceaccount"`
	} `json:"kubernetes.io"`
}

// verify holds a token against the rules and the keys. What it claims is looked at first, because only a token that
// would be good otherwise may ask for a key; nothing of it counts before the signature over the same octets is right.
func (r *rules) verify(token string, now time.Time) (proof, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return proof{}, fmt.Errorf("not a token signed with RS256 or ES256: %w", err)
	}
	var c claims
	if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil {
		return proof{}, fmt.Errorf("the token's claims: %w", err)
	}
	if err := r.judge(&c, now); err != nil {
		return proof{}, err
	}
	id := parsed.Headers[0].KeyID
	if id == "" {
		return proof{}, errors.New("the token names no key")
	}
	known := r.keys.set.Key(id)
	if len(known) == 0 {
		return proof{}, errUnknownKey
	}
	if err := parsed.Claims(known[0].Key); err != nil {
		return proof{}, fmt.Errorf("the token's signature: %w", err)
	}
	return proof{subject: c.Subject, uid: c.Kubernetes.ServiceAccount.UID, issued: c.IssuedAt.Time(), expires: c.Expiry.Time()}, nil
}

// judge says what is wrong with the claims of a token.
func (r *rules) judge(c *claims, now time.Time) error {
	switch {
	case c.Issuer != r.keys.issuer:
		return fmt.Errorf("the token is of another issuer, %q", c.Issuer)
	case !slices.Contains(c.Audience, r.Audience):
		return fmt.Errorf("the token is for another audience, %q; this listener wants %q", c.Audience, r.Audience)
	case slices.Contains(c.Audience, r.keys.issuer):
		// Whoever runs a relay could use such a token against the cluster. It must not become a habit to send it.
		return errors.New("the token is good for the API server, too: ask for one with the relay's audience alone")
	case c.Expiry == nil || c.IssuedAt == nil:
		return errors.New("the token does not say when it was issued and when it expires")
	case c.Expiry.Time().After(now.Add(maxLife + leeway)):
		return fmt.Errorf("the token expires more than %v from now", maxLife)
	case c.Subject != "system:serviceaccount:"+c.Kubernetes.Namespace+":"+c.Kubernetes.ServiceAccount.Name:
		return fmt.Errorf("the token of %q is not that of a ServiceAccount", c.Subject)
	}
	if err := c.ValidateWithLeeway(jwt.Expected{Time: now}, leeway); err != nil {
		return fmt.Errorf("the token's time: %w", err)
	}
	return nil
}

// admit says whether the account of a genuine token may authenticate, under the name that the client gave.
func (r *rules) admit(p proof, user string, now time.Time) error {
	uid, known := r.Accounts[p.subject]
	switch own := p.subject[strings.LastIndexByte(p.subject, ':')+1:]; {
	case user != "" && user != p.subject && user != own:
		return fmt.Errorf("the token is that of %s", p.subject)
	case known && uid == p.uid:
		return nil
	case now.Sub(p.issued) < newFor:
		return errNewAccount
	case known:
		return fmt.Errorf("the ServiceAccount of the token, %s, was deleted and made again", p.subject)
	default:
		return fmt.Errorf("no SendingDomain here names %s, or it was deleted", p.subject)
	}
}
