package filter

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/relay/config"
)

const (
	// maxRspamdAnswer is how long an answer of rspamd may be, in octets.
	maxRspamdAnswer = 1 << 20
	// maxRcptBytes is how much of the recipients rspamd is told: it takes no longer header.
	maxRcptBytes = 32 << 10
)

// rspamd asks rspamd's /checkv2.
type rspamd struct {
	name, url, password, hostname string
	client                        *http.Client
}

func newRspamd(f config.Filter, password, hostname string) (*rspamd, error) {
	u, err := url.Parse(f.Rspamd.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("its URL is none of http or https")
	}
	if !strings.HasSuffix(u.Path, "/checkv2") {
		u = u.JoinPath("checkv2")
	}
	return &rspamd{
		name: f.Name, url: u.String(), password: password, hostname: hostname,
		client: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				TLSHandshakeTimeout: 10 * time.Second,
				MaxIdleConnsPerHost: 16,
				IdleConnTimeout:     30 * time.Second,
				DisableCompression:  true,
			},
		},
	}, nil
}

// ask implements asker.
func (r *rspamd) ask(ctx context.Context, m *Message) (opinion, error) {
	request, err := r.request(ctx, m)
	if err != nil {
		return opinion{}, err
	}
	response, err := r.client.Do(request)
	if err != nil {
		return opinion{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return opinion{}, fmt.Errorf("rspamd answers %d", response.StatusCode)
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxRspamdAnswer+1))
	switch {
	case err != nil:
		return opinion{}, err
	case len(answer) > maxRspamdAnswer:
		return opinion{}, fmt.Errorf("rspamd's answer is longer than %d octets", maxRspamdAnswer)
	}
	return readRspamd(r.name, answer)
}

func (r *rspamd) request(ctx context.Context, m *Message) (*http.Request, error) {
	body := func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(m.Header), m.Body())), nil
	}
	first, _ := body()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, first)
	if err != nil {
		return nil, err
	}
	request.GetBody = body // for a connection that turns out to be closed
	request.ContentLength = int64(len(m.Header)) + m.BodySize
	for _, h := range []field{
		{"IP", m.Client.Addr.String()}, {"Helo", m.Client.Helo}, {"From", m.From}, {"User", m.Client.User},
		{"Queue-Id", m.ID}, {"MTA-Name", r.hostname}, {"Password", r.password},
		{"TLS-Version", m.Client.TLSVersion}, {"TLS-Cipher", m.Client.Cipher},
	} {
		if h.value != "" {
			request.Header.Set(h.name, h.value)
		}
	}
	if len(m.Recipients) == 1 {
		request.Header.Set("Deliver-To", m.Recipients[0])
	}
	told := 0
	for _, to := range m.Recipients {
		if told += len(to); told > maxRcptBytes {
			break
		}
		request.Header.Add("Rcpt", to)
	}
	return request, nil
}

// rspamdAnswer is what we read of an answer.
type rspamdAnswer struct {
	Action   string                     `json:"action"`
	Messages map[string]json.RawMessage `json:"messages"`
	Milter   struct {
		AddHeaders map[string]json.RawMessage `json:"add_headers"`
	} `json:"milter"`
}

// readRspamd turns an answer into an opinion. A subject is not rewritten: such a message is marked as "add header" marks
// one. Discarding is refusing, so that no mail vanishes.
func readRspamd(name string, data []byte) (opinion, error) {
	var a rspamdAnswer
	if err := json.Unmarshal(data, &a); err != nil {
		return opinion{}, fmt.Errorf("read rspamd's answer: %w", err)
	}
	o := opinion{fields: a.fields()}
	switch a.Action {
	case "no action":
	case "add header", "rewrite subject":
		if !slices.ContainsFunc(o.fields, func(f field) bool { return strings.EqualFold(f.name, "X-Spam") }) {
			o.fields = append([]field{{"X-Spam", "Yes"}}, o.fields...)
		}
	case "greylist", "soft reject":
		o.refuse = refusal(451, name, a.message())
	case "reject", "discard":
		o.refuse = refusal(550, name, a.message())
	case "quarantine":
		o.hold = cmp.Or(inert(a.message(), maxText), "quarantine")
	default:
		return opinion{}, fmt.Errorf("rspamd's action %q is none that we know", inert(a.Action, maxText))
	}
	return o, nil
}

// message is what rspamd wants the client to read.
func (a *rspamdAnswer) message() string {
	var text string
	_ = json.Unmarshal(a.Messages["smtp_message"], &text)
	return text
}

// fields are the header fields to add, by name and, for each, in rspamd's order.
func (a *rspamdAnswer) fields() []field {
	var all []field
	for _, name := range slices.Sorted(maps.Keys(a.Milter.AddHeaders)) {
		for _, value := range headerValues(a.Milter.AddHeaders[name]) {
			all = append(all, field{name, value})
		}
	}
	return all
}

// headerValues reads the forms that rspamd gives a field: a text, an object with a value, or a list of either.
func headerValues(raw json.RawMessage) []string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []string{text}
	}
	var object struct{ Value *string }
	if json.Unmarshal(raw, &object) == nil && object.Value != nil {
		return []string{*object.Value}
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	var values []string
	for _, element := range list[:min(len(list), maxFields)] {
		if len(element) > 0 && element[0] != '[' {
			values = append(values, headerValues(element)...)
		}
	}
	return values
}
