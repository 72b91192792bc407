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
	t := &table{hashes: make(map[string][]byte)}
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
			continue
		}
		t.hashes[user] = hash
		if cost > highest {
			highest, t.decoy = cost, hash
		}
	}
	return t, errors.Join(bad...)
}

// parseLine does not quote the line in its errors: it may hold a password.
func parseLine(line string) (user string, hash []byte, cost int, err error) {
	user, text, ok := strings.Cut(line, ":")
	if !ok || user == "" {
		return "", nil, 0, errors.New("not of the form user:hash")
	}
	hash = []byte(text)
	cost, err = bcrypt.Cost(hash)
	switch {
	case err != nil:
		return "", nil, 0, errors.New("not a bcrypt hash (htpasswd -B makes one)")
	case cost > maxCost:
		return "", nil, 0, fmt.Errorf("the bcrypt cost is %d; at most %d is allowed", cost, maxCost)
	}
	return user, hash, cost, nil
}
