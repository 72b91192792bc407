package auth

import "context"

// Gate is who may authenticate at a listener. A nil field admits nobody.
type Gate struct {
	Users  *Users
	Tokens *Tokens
}

// Identity is who somebody was proven to be.
type Identity struct {
	Name string
	// UID is that of a ServiceAccount: one made again under its name has another. Empty for a user with a password.
	UID string
	// hash is what the password was held against; empty for a token.
	hash string
}

// TakesTokens says whether there is anything that Token may accept.
func (g Gate) TakesTokens() bool { return g.Tokens != nil }

// Password returns whom a user name and a password prove, which may be a token. Its errors are those of
// Users.Check and Tokens.Check.
func (g Gate) Password(ctx context.Context, user, password string) (Identity, error) {
	if IsToken(password) || g.Users == nil {
		return g.Token(ctx, user, password)
	}
	who := Identity{Name: user, hash: g.Users.hash(user)}
	if err := g.Users.Check(ctx, user, password); err != nil {
		return Identity{}, err
	}
	return who, nil
}

// Holds says whether the password that proved somebody is still the user's. ServiceAccounts are looked at where it is
// asked what they may do.
func (g Gate) Holds(who Identity) bool {
	return who.hash == "" || g.Users != nil && g.Users.hash(who.Name) == who.hash
}

// Token is Password for a token; user may be empty.
func (g Gate) Token(ctx context.Context, user, token string) (Identity, error) {
	if g.Tokens == nil {
		return Identity{}, ErrWrong
	}
	return g.Tokens.Check(ctx, user, token)
}
