package bundle

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// redacted stands where something was taken out.
const redacted = "[redacted]"

// Redactor takes out of texts and objects what must not leave a cluster: credentials, and who writes to whom.
type Redactor struct {
	// Key makes pseudonyms of addresses' local parts, the same ones within a bundle. Empty leaves addresses as they are.
	Key []byte
}

// pattern is what a secret looks like, and what stands in its place.
type pattern struct {
	find *regexp.Regexp
	with string
}

// secretName is how fields are called that hold secrets themselves; secretRef and secretName only name one.
const secretName = `(?:pass(?:word|wd|phrase)?|secret|(?:access|refresh|id|bearer|auth|session)?[-_]?token|api[-_]?key|(?:access|private|signing|encryption)[-_]?key|client[-_]?secret|credentials?|authorization|cookie)`

// patterns are tried in order. They rather take too much than too little.
func patterns() []pattern {
	return []pattern{
		{regexp.MustCompile(`-----BEGIN [A-Z0-9 ]+-----[\s\S]*?(?:-----END [A-Z0-9 ]+-----|$)`), redacted},
		{regexp.MustCompile(`\beyJ[\w-]{8,}(?:\.[\w-]+)*`), redacted},
		{regexp.MustCompile(`\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{20,}`), redacted},
		{regexp.MustCompile(`\bwhsec_[A-Za-z0-9+/=_-]+`), redacted},
		{regexp.MustCompile(`(?i)\b((?:bearer|basic|auth (?:plain|login|cram-md5|xoauth2|oauthbearer))\s+)[A-Za-z0-9+/=_.~-]+`), "${1}" + redacted},
		{regexp.MustCompile(`(?i)((?:^|[^a-z])` + secretName + `\\?["']?\s*[:=]\s*\\?["']?)(?:[^"'\s,;&}\\]+)`), "${1}" + redacted},
		{regexp.MustCompile(`\b([a-z][a-z0-9+.-]*://)(?:[^\s/@"']+@)?([^\s/?#"'@]+)[/?#][^\s"']*`), "${1}${2}/" + redacted},
		{regexp.MustCompile(`\b([a-z][a-z0-9+.-]*://)[^\s/@"']+@`), "${1}" + redacted + "@"},
	}
}

var (
	secrets   = patterns()
	secretKey = regexp.MustCompile(`(?i)^` + secretName + `$`)
	address   = regexp.MustCompile(`([^\s<>"'@,;:()\[\]\\=]+)@([\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+)`)
)

// Text takes secrets out of a text, such as a log, an event or a URL.
func (r *Redactor) Text(text string) string {
	for _, p := range secrets {
		text = p.find.ReplaceAllString(text, p.with)
	}
	if len(r.Key) == 0 {
		return text
	}
	return address.ReplaceAllStringFunc(text, func(found string) string {
		at := strings.LastIndexByte(found, '@')
		return r.pseudonym(found) + found[at:]
	})
}

// pseudonym stands for an address's local part: the same for the same address, however it is written, and nothing to
// guess by without the key.
func (r *Redactor) pseudonym(address string) string {
	mac := hmac.New(sha256.New, r.Key)
	mac.Write([]byte(strings.ToLower(address)))
	return "user-" + hex.EncodeToString(mac.Sum(nil))[:8]
}

// Object takes secrets out of what JSON decodes to, and what is of no use there.
func (r *Redactor) Object(value any) any {
	switch value := value.(type) {
	case map[string]any:
		return r.fields(value)
	case []any:
		list := make([]any, len(value))
		for i := range value {
			list[i] = r.Object(value[i])
		}
		return list
	case string:
		return r.Text(value)
	default:
		return value
	}
}

// lastApplied is the copy of an object that kubectl apply keeps: its secrets would be in another form.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func (r *Redactor) fields(object map[string]any) map[string]any {
	if kind, _ := object["kind"].(string); kind == "Secret" {
		for _, field := range []string{"data", "stringData"} {
			if _, there := object[field]; there {
				object[field] = redacted
			}
		}
	}
	clean := make(map[string]any, len(object))
	for key, value := range object {
		_, text := value.(string)
		switch {
		case key == "managedFields" || key == lastApplied:
		case key == "env":
			clean[key] = r.environment(value)
		case text && secretKey.MatchString(key):
			clean[key] = redacted
		default:
			clean[key] = r.Object(value)
		}
	}
	return clean
}

// environment keeps the names of variables, and where their values come from.
func (r *Redactor) environment(value any) any {
	list, ok := value.([]any)
	if !ok {
		return redacted
	}
	var names []any
	for _, entry := range list {
		variable, ok := entry.(map[string]any)
		if !ok {
			continue
		}
		kept := map[string]any{"name": variable["name"]}
		if from, there := variable["valueFrom"]; there {
			kept["valueFrom"] = r.Object(from)
		} else {
			kept["value"] = redacted
		}
		names = append(names, kept)
	}
	return names
}
