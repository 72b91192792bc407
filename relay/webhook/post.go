package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAnswer is how much of an answer is read, so that the connection can be used again.
	maxAnswer = 64 << 10
	// maxWait bounds the wait between two attempts, maxRetryAfter what the receiver may ask for.
	maxWait       = 5 * time.Minute
	maxRetryAfter = time.Hour
)

// answer is what came of a request.
type answer struct {
	code       int // of HTTP; 0 when there was no answer
	retryAfter time.Duration
	err        error
}

// fate is what becomes of a batch.
type fate string

const (
	taken   fate = "taken"
	again   fate = "again"
	refused fate = "refused"
)

// fate judges an answer. A receiver that says that the request is wrong will say so each time; everything else may
// pass, a redirect included: somebody is moving the receiver.
func (a answer) fate() fate {
	switch {
	case a.code >= 200 && a.code < 300:
		return taken
	case a.code == http.StatusRequestTimeout, a.code == http.StatusTooManyRequests:
		return again
	case a.code >= 400 && a.code < 500:
		return refused
	default:
		return again
	}
}

// wait is how long to wait after the n-th failure in a row: twice as long each time, varied by half by the dice
// (0 to 1), and never less than what the receiver asked for.
func (a answer) wait(n int, first time.Duration, dice float64) time.Duration {
	wait := maxWait
	if n < 20 {
		wait = min(first<<(n-1), maxWait)
	}
	wait -= time.Duration(dice * float64(wait) / 2)
	return max(wait, min(a.retryAfter, maxRetryAfter))
}

// String says what happened, for the log: it holds nothing of the URL but the host.
func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return strconv.Itoa(a.code) + " " + http.StatusText(a.code)
}

// post sends a batch.
func (s *settings) post(ctx context.Context, body []byte, now time.Time) answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return answer{err: withoutURL(err)}
	}
	request.Header.Set("Content-Type", "application/cloudevents-batch+json; charset=utf-8")
	request.Header.Set("User-Agent", s.agent)
	sign(request.Header, s.keys, body, now)
	response, err := s.client.Do(request)
	if err != nil {
		return answer{err: withoutURL(err)}
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	return answer{code: response.StatusCode, retryAfter: retryAfter(response.Header.Get("Retry-After"), now)}
}

// withoutURL takes the URL out of an error: it may hold a token.
func withoutURL(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// sign adds the headers of Standard Webhooks. The id is made from the body: a batch that is sent again has the same.
func sign(header http.Header, keys [][]byte, body []byte, now time.Time) {
	sum := sha256.Sum256(body)
	id := "msg_" + hex.EncodeToString(sum[:16])
	timestamp := strconv.FormatInt(now.Unix(), 10)
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", timestamp)
	var signatures []string
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if len(signatures) > 0 {
		header.Set("webhook-signature", strings.Join(signatures, " "))
	}
}

// retryAfter reads the field of that name: seconds, or a date (RFC 9110 §10.2.3). 0 when there is none.
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
