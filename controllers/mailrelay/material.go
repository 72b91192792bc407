package mailrelay

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/render"
)

// material reads the Secrets that the relay refers to. Where one is missing or malformed, the last good copy
// that the pods have stays.
func (p *pass) material(ctx context.Context, own map[string][]byte) (map[string][]byte, facts, error) {
	material := map[string][]byte{}
	var f facts
	for _, need := range render.Needs(p.relay) {
		data, found, err := p.Secrets.Data(ctx, p.relay.Namespace, need.Secret)
		if err != nil {
			return nil, f, err
		}
		files, problem := filesOf(need, data, found, own)
		if problem != nil && need.Issued && !found {
			if problem.Problem, err = p.notIssued(ctx, need); err != nil {
				return nil, f, err
			}
		}
		if problem != nil {
			f.secrets = append(f.secrets, *problem)
		}
		maps.Copy(material, files)
		if expires, ok := expiry(need, files); ok {
			f.certificates = append(f.certificates, condition.Certificate{Secret: need.Secret, Expires: expires})
		}
	}
	return material, f, nil
}

// filesOf are the files of a Secret, or those of its last good copy with what is wrong with the Secret.
func filesOf(need render.Need, data map[string][]byte, found bool, own map[string][]byte) (map[string][]byte, *condition.Secret) {
	problem := &condition.Secret{Use: useOf(need.Kind)}
	if found {
		files, err := need.Files(data)
		if err == nil {
			return files, nil
		}
		problem.Problem = sentence(fmt.Sprintf("%s: %v", need.Field, err))
		problem.Missing = errors.Is(err, render.ErrMissingKey)
	} else {
		problem.Problem = fmt.Sprintf("%s: there is no Secret %s. Make it, or change the reference.", need.Field, need.Secret)
		problem.Missing = true
	}
	files, kept := need.Kept(func(name string) ([]byte, bool) { data, ok := own[name]; return data, ok })
	problem.Kept = kept
	return files, problem
}

func sentence(s string) string { return s + "." }

func useOf(kind render.Kind) condition.Use {
	switch kind {
	case render.KindTLS:
		return condition.UseTLS
	case render.KindUsers:
		return condition.UseUsers
	case render.KindRspamd, render.KindWebhook:
		return condition.UseService
	default:
		return condition.UseUpstream
	}
}

// expiry is when a listener's certificate ends.
func expiry(need render.Need, files map[string][]byte) (at time.Time, ok bool) {
	if need.Kind != render.KindTLS || len(files) == 0 {
		return at, false
	}
	block, _ := pem.Decode(files[need.FileNames()[0]])
	if block == nil {
		return at, false
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return at, false
	}
	return certificate.NotAfter, true
}
