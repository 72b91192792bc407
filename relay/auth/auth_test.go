package auth

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func hash(t *testing.T, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// load puts these lines into the file of a new Users.
func load(t *testing.T, lines ...string) (*Users, error) {
	t.Helper()
	u := New()
	return u, u.Load(write(t, lines...))
}

func write(t *testing.T, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("x", 72)
	u, err := load(t, "# users", "", "alice:"+hash(t, "secret"), " bob:"+strings.Replace(hash(t, "other"), "$2a$", "$2y$", 1)+"\r",
		"long:"+hash(t, long))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		user, password string
		want           error
	}{
		{"alice", "secret", nil}, {"alice", "secret", nil}, {"bob", "other", nil}, {"long", long, nil},
		{"alice", "other", ErrWrong}, {"alice", "", ErrWrong}, {"Alice", "secret", ErrWrong}, {"carol", "secret", ErrWrong},
		{"", "secret", ErrWrong}, {"# users", "", ErrWrong},
	} {
		if err := u.Check(t.Context(), test.user, test.password); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s with %s: %v, want %v", test.user, test.password, err, test.want)
		}
	}
}

// TestOurTroubleIsTemporary: nobody's password is called wrong because the admin's file is.
func TestOurTroubleIsTemporary(t *testing.T) {
	unread := New()
	if err := unread.Load("missing"); err == nil {
		t.Error("a missing file was read")
	}
	broken, _ := load(t, "alice:plain", "garbage")
	partly, _ := load(t, "alice:plain", "bob:"+hash(t, "secret"))
	empty, err := load(t, "# nobody yet")
	if err != nil {
		t.Error(err)
	}
	for name, test := range map[string]struct {
		users *Users
		user  string
		want  error
	}{
		"never loaded": {New(), "alice", ErrBusy}, "unreadable": {unread, "alice", ErrBusy}, "no line is usable": {broken, "bob", ErrBusy},
		"her line is broken": {partly, "alice", ErrBusy}, "his is not": {partly, "bob", nil}, "nobody's": {partly, "carol", ErrWrong},
		"empty": {empty, "alice", ErrWrong},
	} {
		if err := test.users.Check(t.Context(), test.user, "secret"); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// TestBadLines: each is named, without what stands in it, and the good ones are in force.
func TestBadLines(t *testing.T) {
	u, err := load(t, "plain:password", "no colon", ":"+hash(t, "x"), "costly:$2y$31$"+strings.Repeat("a", 53),
		"alice:"+hash(t, "secret"), "alice:"+hash(t, "second"), "md5:$apr1$x$y", "short:$2y$10$abc")
	if err == nil {
		t.Fatal("no error")
	}
	for _, line := range []string{"line 1:", "line 2:", "line 3:", "line 4:", "line 6:", "line 7:", "line 8:"} {
		if !strings.Contains(err.Error(), line) {
			t.Errorf("%q does not name %s", err, line)
		}
	}
	if strings.Contains(err.Error(), "password") {
		t.Errorf("%q quotes a password", err)
	}
	if err := u.Check(t.Context(), "alice", "secret"); err != nil {
		t.Errorf("the good line: %v", err)
	}
	if err := u.Check(t.Context(), "alice", "second"); !errors.Is(err, ErrWrong) {
		t.Errorf("the second line of a user: %v", err)
	}
}

func TestReload(t *testing.T) {
	u, err := load(t, "alice:"+hash(t, "old"))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Check(t.Context(), "alice", "old"); err != nil {
		t.Fatal(err)
	}
	if err := u.Load("missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := u.Check(t.Context(), "alice", "old"); err != nil {
		t.Errorf("a file that is missing changed something: %v", err)
	}
	if err := u.Load(write(t, "alice:"+hash(t, "new"))); err != nil {
		t.Fatal(err)
	}
	if err := u.Check(t.Context(), "alice", "old"); !errors.Is(err, ErrWrong) {
		t.Errorf("the old password: %v", err)
	}
	if err := u.Load(write(t)); err != nil {
		t.Fatal(err)
	}
	if err := u.Check(t.Context(), "alice", "new"); !errors.Is(err, ErrWrong) {
		t.Errorf("a user that is gone: %v", err)
	}
}

// TestCache: a right password costs nothing for a while; a wrong one, and one of a name that nobody has, always cost.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, err := load(t, "alice:"+hash(t, "secret"))
		if err != nil {
			t.Fatal(err)
		}
		free := func(user, password string) bool {
			occupy(u)
			defer vacate(u)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			return !errors.Is(u.Check(ctx, user, password), ErrBusy)
		}
		_ = u.Check(t.Context(), "alice", "wrong")
		_ = u.Check(t.Context(), "carol", "secret")
		if free("alice", "secret") || free("alice", "wrong") || free("carol", "secret") {
			t.Error("a check that was not made before was free")
		}
		if err := u.Check(t.Context(), "alice", "secret"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(cacheFor - time.Second)
		if !free("alice", "secret") || free("alice", "wrong") {
			t.Error("the right password alone should be cached")
		}
		time.Sleep(2 * time.Second)
		if free("alice", "secret") {
			t.Error("the cache did not expire")
		}
	})
}

// occupy takes all workers, as running checks do.
func occupy(u *Users) {
	for range cap(u.workers) {
		u.workers <- struct{}{}
	}
}

func vacate(u *Users) {
	for range cap(u.workers) {
		<-u.workers
	}
}

// TestOverload: a check that does not get its turn says nothing about the password.
func TestOverload(t *testing.T) {
	u, err := load(t, "alice:"+hash(t, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	for range cap(u.waiting) {
		u.waiting <- struct{}{}
	}
	if err := u.Check(t.Context(), "alice", "secret"); !errors.Is(err, ErrBusy) {
		t.Errorf("a full queue: %v, want %v", err, ErrBusy)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache[struct{}]()
	for i := range cacheSize + 1 {
		c.add(c.key("alice", string(rune(i))), struct{}{}, time.Now())
	}
	if len(c.entries) > cacheSize {
		t.Errorf("%d entries", len(c.entries))
	}
}

// TestCacheKey: no two different questions have one key.
func TestCacheKey(t *testing.T) {
	c, other := newCache[struct{}](), newCache[struct{}]()
	if c.key("a", "b", "c") == other.key("a", "b", "c") {
		t.Error("two processes have the same keys")
	}
	if first, second := c.key("a", "b", "c"), c.key("a", "b", "c"); first != second {
		t.Error("the key of a question is not always the same")
	}
	for _, parts := range [][]string{{"a", "hash2", "c"}, {"a", "b"}, {"ab", "", "c"}, {"a\x00b", "c"}, {"a", "bc", ""}} {
		if c.key("a", "b", "c") == c.key(parts...) {
			t.Errorf("%q has the key of another question", parts)
		}
	}
}

func BenchmarkCachedCheck(b *testing.B) {
	u := New()
	h, _ := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	u.table.Store(&table{hashes: map[string][]byte{"alice": h}, decoy: h})
	for b.Loop() {
		if err := u.Check(b.Context(), "alice", "secret"); err != nil {
			b.Fatal(err)
		}
	}
}
