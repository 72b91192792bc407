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
}

// TakesTokens says whether there is anything that Token may accept.
func (g Gate) TakesTokens() bool { return g.Tokens != nil }

// Password returns whom a user name and a password prove, which may be a token. Its errors are those of
// Users.Check and Tokens.Check.
func (g Gate) Password(ctx context.Context, user, password string) (Identity, error) {
	if IsToken(password) || g.Users == nil {
		return g.Token(ctx, user, password)
	}
	return Identity{Name: user}, g.Users.Check(ctx, user, password)
}

// Token is Password for a token; user may be empty.
func (g Gate) Token(ctx context.Context, user, token string) (Identity, error) {
	if g.Tokens == nil {
		return Identity{}, ErrWrong
	}
	return g.Tokens.Check(ctx, user, token)
}
