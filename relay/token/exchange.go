package token

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxAnswer is how much of an answer is read, in octets.
const maxAnswer = 64 << 10

// answer is what a token endpoint says (RFC 6749 §5.1, §5.2).
type answer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    number `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
	Error        string `json:"error"`
	Description  string `json:"error_description"`
}

// number is one that some servers put in quotes. What is none says nothing, and takes nothing from a token that is good.
type number int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(text []byte) error {
	if v, err := strconv.ParseInt(strings.Trim(string(text), `"`), 10, 64); err == nil {
		*n = number(v)
	}
	return nil
}

// ask asks the server for a token. Every server must take the client's name and secret in the header (RFC 6749
// §2.3.1); those that take them only in the body are found out once.
func (s *Source) ask(ctx context.Context) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a, status, err := s.post(ctx)
	refused := status == http.StatusUnauthorized || status == http.StatusBadRequest && a.Error == "invalid_client"
	if refused && s.settings.ClientSecret != "" {
		s.inBody = !s.inBody
		a, status, err = s.post(ctx)
	}
	if err == nil {
		err = a.fault(status)
	}
	if err != nil {
		return answer{}, fmt.Errorf("get an access token from %s: %w", s.settings.URL, err)
	}
	return a, nil
}

func (s *Source) post(ctx context.Context) (answer, int, error) {
	form := s.form()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.settings.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, 0, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	if !form.Has("client_id") {
		request.SetBasicAuth(url.QueryEscape(s.settings.ClientID), url.QueryEscape(s.settings.ClientSecret))
	}
	response, err := s.client.Do(request)
	if err != nil {
		return answer{}, 0, err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	var a answer
	err = json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&a)
	if err != nil && response.StatusCode != http.StatusOK {
		err = nil // the status says enough
	}
	return a, response.StatusCode, err
}

func (s *Source) form() url.Values {
	form := url.Values{"grant_type": {"client_credentials"}}
	if s.refresh != "" {
		form = url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.refresh}}
	}
	if s.settings.Scope != "" {
		form.Set("scope", s.settings.Scope)
	}
	if s.settings.ClientSecret == "" || s.inBody {
		form.Set("client_id", s.settings.ClientID)
	}
	if s.inBody {
		form.Set("client_secret", s.settings.ClientSecret)
	}
	return form
}

// fault says why there is no token in an answer. What the server says is quoted, so that it is inert.
func (a answer) fault(status int) error {
	switch {
	case a.Error != "":
		return fmt.Errorf("the server says %.100q %.200q", a.Error, a.Description)
	case status != http.StatusOK:
		return fmt.Errorf("the server says %d %s", status, http.StatusText(status))
	case a.TokenType != "" && !strings.EqualFold(a.TokenType, "bearer"):
		return fmt.Errorf("the token is a %.100q one, not a bearer's", a.TokenType)
	case a.AccessToken == "" || strings.ContainsFunc(a.AccessToken, notVisible):
		return fmt.Errorf("the server gave no token")
	}
	return nil
}

// notVisible: such a character would end the token within an AUTH command.
func notVisible(c rune) bool { return c <= ' ' || c > '~' }
