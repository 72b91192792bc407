package bundle

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/test/unpack"
)

var redactor = Redactor{Key: []byte("k")}

// planted are secrets in the forms in which they stand in logs, events and objects. None may come through.
var planted = []string{
	"-----BEGIN PRIVATE KEY-----\nSECRET0\nSECRET0\n-----END PRIVATE KEY-----",
	`{"key":"-----BEGIN RSA PRIVATE KEY-----\\nSECRET0\\n-----END RSA PRIVATE KEY-----\\n"}`,
	"cut off: -----BEGIN EC PRIVATE KEY-----\nSECRET0",
	"token eyJSECRET0abcdefgh.eyJSECRET0.SECRET0-_x",
	"Authorization: Bearer SECRET0.a-b_c~d",
	"authorization=SECRET0",
	"AUTH PLAIN SECRET0AGRlbW8=",
	"auth xoauth2 SECRET0==",
	"password=SECRET0", "Password: SECRET0", `"password":"SECRET0"`, `{\"password\":\"SECRET0\"}`, "smtp_password='SECRET0'",
	"api_key=SECRET0&x=1", "client-secret: SECRET0", "access_token=SECRET0", "passphrase SECRET=1 secret=SECRET0",
	"https://user:SECRET0@hooks.example/x", "https://hooks.example/services/T0/SECRET0", "https://hooks.example?key=SECRET0", "redis://:SECRET0@cache:6379",
	"whsec_SECRET0abc", "demo:$2y$10$SECRET0SECRET0SECRET0SECRET0",
	"to=<SECRET0@customer.example>", "SECRET0+tag@customer.example", `user "SECRET0@xn--mnchen-3ya.example"`,
}

func TestTextHoldsNoSecret(t *testing.T) {
	for _, text := range planted {
		if got := redactor.Text(text); strings.Contains(got, "SECRET0") {
			t.Errorf("%q comes through as %q", text, got)
		}
	}
}

// What helps stays.
func TestTextKeepsTheRest(t *testing.T) {
	for _, text := range []string{
		`{"level":"INFO","msg":"attempt","spool_id":"01M83K1R6SB9GKN4DS06","site":"mx.inbox.example","reply":"451 4.7.1 try again later"}`,
		"pulled image ghcr.io/postrider/postrider@sha256:0123456789abcdef", "secretRef: {name: smtp-tls}", "SecretInvalid: Secret mail/smtp-tls lacks the key tls.crt",
		"postrider_queue_recipients{pod=\"mx1-0\"} 5", "listener smtp on [::]:2525", "token keys were fetched",
	} {
		if got := redactor.Text(text); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestPseudonyms(t *testing.T) {
	one, same := redactor.Text("to=<Ada@inbox.example>"), redactor.Text("to=<ada@Inbox.example>")
	if !strings.EqualFold(one, same) || !strings.Contains(one, "@inbox.example") || strings.Contains(one, "Ada") {
		t.Errorf("one address becomes %s and %s", one, same)
	}
	if other := redactor.Text("to=<bob@inbox.example>"); other == one {
		t.Error("two addresses are one")
	}
	other := Redactor{Key: []byte("other")}
	if other.Text("to=<Ada@inbox.example>") == one {
		t.Error("the pseudonym does not depend on the key")
	}
	if open := (&Redactor{}).Text("ada@inbox.example"); open != "ada@inbox.example" {
		t.Errorf("without a key: %s", open)
	}
}

func TestBundle(t *testing.T) {
	var out bytes.Buffer
	b := New(&out, "report", redactor, time.Unix(0, 0))
	env := []any{map[string]any{"name": "PLAIN", "value": "SECRET0"}, map[string]any{"name": "FROM", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "kept-name"}}}}
	err := errors.Join(
		b.Object("pod", map[string]any{"kind": "Pod",
			"metadata": map[string]any{"managedFields": []any{"SECRET0"}, "annotations": map[string]any{lastApplied: `{"x":"SECRET0"}`, "note": "kept"}},
			"spec":     map[string]any{"containers": []any{map[string]any{"env": env, "args": []any{"--password=SECRET0"}}}},
		}),
		b.Object("secret", map[string]any{"kind": "Secret", "data": map[string]any{"tls.key": "SECRET0"}, "stringData": map[string]any{"x": "SECRET0"}}),
		b.Object("relay", map[string]any{"webhook": map[string]any{"url": "https://hooks.example/SECRET0", "token": "SECRET0"}}),
		b.Text("log.txt", []byte(strings.Join(planted, "\n")+"\xff")),
	)
	b.Missing("logs", errors.New("token=SECRET0 is not enough"))
	if err := errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	files, err := unpack.TarGz(&out)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range files {
		if strings.Contains(file.Text, "SECRET0") {
			t.Errorf("%s holds a secret:\n%s", name, file.Text)
		}
	}
	if len(files) != 5 || !strings.Contains(files["report/pod.yaml"].Text, "kept-name") || !strings.Contains(files["report/pod.yaml"].Text, "note: kept") ||
		!strings.Contains(files["report/missing.txt"].Text, "logs: ") || !strings.Contains(files["report/relay.yaml"].Text, "https://hooks.example/") {
		t.Errorf("files %v", files)
	}
}
