package auth

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// maxCost bounds a bcrypt hash: each step doubles the time, and 14 is about a second.
const maxCost = 14

// table is the contents of a users file.
type table struct {
	hashes map[string][]byte
	// broken are the users whose lines cannot be used; all says that there was no other line.
	broken map[string]bool
	all    bool
	// decoy is the costliest of the hashes: what a name that nobody has is checked against.
	decoy []byte
}

// Load takes the users of an htpasswd file in place of those before: a line "user:$2y$…" for each, empty lines and
// lines that begin with "#" between them. Lines that cannot be used are named in the error, and the others are in
// force nevertheless. A file that cannot be read changes nothing.
func (u *Users) Load(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	t, err := parse(string(data))
	u.table.Store(t)
	if err != nil {
		return fmt.Errorf("users in %s: %w", file, err)
	}
	return nil
}

func parse(text string) (*table, error) {
	t := &table{hashes: make(map[string][]byte), broken: make(map[string]bool)}
	var bad []error
	highest := 0
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, cost, err := parseLine(line)
		if _, twice := t.hashes[user]; err == nil && twice {
			err = errors.New("this user has a line above")
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("line %d: %w", i+1, err))
			t.broken[user] = true
			continue
		}
		t.hashes[user] = hash
		if cost > highest {
			highest, t.decoy = cost, hash
		}
	}
	t.all = len(t.hashes) == 0 && len(bad) > 0
	return t, errors.Join(bad...)
}

// unusable says that the file should say something about a user, and does not: the admin's trouble, not the user's.
func (t *table) unusable(user string) bool {
	_, usable := t.hashes[user]
	return !usable && (t.all || t.broken[user])
}

// hash is what a user's password is held against at the moment; empty for a user that there is not.
func (u *Users) hash(user string) string {
	t := u.table.Load()
	if t == nil {
		return ""
	}
	return string(t.hashes[user])
}

// parseLine returns the user even where the rest cannot be used. It does not quote the line in its errors: it may
// hold a password.
func parseLine(line string) (user string, hash []byte, cost int, err error) {
	user, text, ok := strings.Cut(line, ":")
	if !ok || user == "" {
		return "", nil, 0, errors.New("not of the form user:hash")
	}
	hash = []byte(text)
	cost, err = bcrypt.Cost(hash)
	switch {
	case err != nil:
		return user, nil, 0, errors.New("not a bcrypt hash (htpasswd -B makes one)")
	case cost > maxCost:
		return user, nil, 0, fmt.Errorf("the bcrypt cost is %d; at most %d is allowed", cost, maxCost)
	}
	return user, hash, cost, nil
}
