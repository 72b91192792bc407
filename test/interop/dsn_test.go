//go:build interop

package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// notice is a DSN as Python's email package reads it.
type notice struct {
	Type       string
	ReportType string
	Headers    map[string]string
	Parts      []string
	Text       string
	// Message and Recipients are the fields of its second part.
	Message    map[string]string
	Recipients []map[string]string
	Returned   struct{ Type, Text string }
}

func parseDSN(message []byte) (notice, error) {
	var n notice
	return n, python("dsn.py", message, &n)
}

// action wants the notice to say this of a recipient: its action, and the status that it begins with.
func (n notice) action(t *testing.T, recipient, action, status string) {
	t.Helper()
	if n.Type != "multipart/report" || n.ReportType != "delivery-status" || len(n.Parts) != 3 || n.Parts[1] != "message/delivery-status" {
		t.Errorf("it is no DSN: %s of %s with the parts %v", n.Type, n.ReportType, n.Parts)
	}
	i := slices.IndexFunc(n.Recipients, func(r map[string]string) bool {
		_, address, _ := strings.Cut(r["Final-Recipient"], ";")
		return strings.TrimSpace(address) == recipient
	})
	if i < 0 {
		t.Fatalf("it does not name %s: %v", recipient, n.Recipients)
	}
	if got := n.Recipients[i]; got["Action"] != action || !strings.HasPrefix(got["Status"], status) {
		t.Errorf("it says of %s: %v; want %s %s", recipient, got, action, status)
	}
}

// notices are those of the messages that are DSNs.
func notices(messages []string) ([]notice, error) {
	var found []notice
	for _, m := range messages {
		header, _, _ := strings.Cut(strings.ReplaceAll(m, "\r\n", "\n"), "\n\n")
		if !strings.Contains(header, "multipart/report") {
			continue
		}
		n, err := parseDSN([]byte(m))
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, m)
		}
		found = append(found, n)
	}
	return found, nil
}
