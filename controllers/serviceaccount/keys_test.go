package serviceaccount

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/postrider/postrider/relay/config"
)

// server answers a fetch.
type server struct {
	asked int
	keys  string
	err   error
}

func (s *server) keysOf() *Keys {
	return &Keys{now: time.Now, fetch: func(ctx context.Context) ([]byte, error) {
		s.asked++
		if _, bounded := ctx.Deadline(); !bounded {
			return nil, errors.New("a fetch that may take for ever")
		}
		if s.err != nil {
			return nil, s.err
		}
		return []byte(s.keys), nil
	}}
}

func expect(t *testing.T, k *Keys, want string, failed bool) {
	t.Helper()
	if got, err := k.Encoded(t.Context()); string(got) != want || (err != nil) != failed {
		t.Errorf("%q and %v", got, err)
	}
}

// TestKeysAreFetchedSeldom: at most once in five minutes, or ten seconds when a relay wants them.
func TestKeysAreFetchedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{keys: "a"}
		k := s.keysOf()
		expect(t, k, "a", false)
		s.keys = "b"
		time.Sleep(keysFresh - time.Second)
		expect(t, k, "a", false)
		time.Sleep(time.Second)
		expect(t, k, "b", false)
		s.keys = "c"
		if k.Want() {
			t.Error("keys that are new are fetched anew at once")
		}
		expect(t, k, "b", false)
		time.Sleep(keysPause)
		if !k.Want() {
			t.Error("keys are not fetched that are wanted")
		}
		expect(t, k, "c", false)
		expect(t, k, "c", false)
		if s.asked != 3 {
			t.Errorf("asked %d times", s.asked)
		}
	})
}

// TestKeysStay: while the API server does not answer, the last ones stay, and it is asked every ten seconds.
func TestKeysStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{keys: "a", err: errors.New("down")}
		k := s.keysOf()
		expect(t, k, "", true)
		expect(t, k, "", true)
		time.Sleep(keysPause)
		s.err = nil
		expect(t, k, "a", false)
		time.Sleep(keysFresh)
		s.err = errors.New("down")
		expect(t, k, "a", true)
		expect(t, k, "a", true)
		time.Sleep(keysPause)
		s.keys, s.err = "b", nil
		expect(t, k, "b", false)
		if s.asked != 4 {
			t.Errorf("asked %d times", s.asked)
		}
	})
}

func jwk(t *testing.T, id string, key any) jose.JSONWebKey {
	t.Helper()
	return jose.JSONWebKey{KeyID: id, Key: key, Use: "sig"}
}

func set(t *testing.T, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestEncode: the same keys are the same octets in any order, and only public ones pass.
func TestEncode(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a, b := jwk(t, "a", key.Public()), jwk(t, "b", key.Public())
	discovered := []byte(`{"issuer":"https://cluster.example","jwks_uri":"https://elsewhere.example/jwks"}`)
	one, err := encode(discovered, set(t, a, b))
	if err != nil {
		t.Fatal(err)
	}
	if two, err := encode(discovered, set(t, b, a)); err != nil || string(one) != string(two) {
		t.Errorf("another order is %s, %v", two, err)
	}
	secret, err := encode(discovered, set(t, a, jwk(t, "private", key), jwk(t, "symmetric", []byte("secret"))))
	if err != nil {
		t.Fatal(err)
	}
	var stored config.TokenKeys
	var kept jose.JSONWebKeySet
	if err := errors.Join(json.Unmarshal(secret, &stored), json.Unmarshal(stored.Keys, &kept)); err != nil {
		t.Fatal(err)
	}
	if stored.Issuer != "https://cluster.example" || len(kept.Keys) != 1 || kept.Keys[0].KeyID != "a" {
		t.Errorf("kept %s", secret)
	}
	for name, test := range map[string][2]string{
		"no issuer":   {`{}`, string(set(t, a))},
		"no keys":     {string(discovered), string(set(t))},
		"no document": {"<html>", string(set(t, a))},
		"no set":      {string(discovered), "<html>"},
		"too long":    {string(discovered), strings.Repeat(" ", keysMax) + string(set(t, a))},
	} {
		if got, err := encode([]byte(test[0]), []byte(test[1])); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}
