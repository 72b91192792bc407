package mailrelay

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/controllers/programmed"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay/config"
)

// annotate notes on the relay's ConfigMap which Secrets there are, and since which generation each policy has
// been in the configuration as it is now.
func (p *pass) annotate(objects []client.Object, in render.Input, files *render.Files, generation int64) error {
	policies, err := p.policyRecords(in, files, generation)
	if err != nil {
		return err
	}
	var secrets []string
	for _, object := range objects {
		if s, ok := object.(*corev1.Secret); ok {
			secrets = append(secrets, s.Name)
		}
	}
	for _, object := range objects {
		if c, ok := object.(*corev1.ConfigMap); ok && c.Name == programmed.ConfigMapName(p.relay.Name) {
			c.Annotations = map[string]string{
				secretsAnnotation:     strings.Join(secrets, " "),
				programmed.Annotation: policies,
			}
		}
	}
	return nil
}

func (p *pass) policyRecords(in render.Input, files *render.Files, generation int64) (string, error) {
	var relay config.Relay
	if err := json.Unmarshal(files.Relay[config.RelayFile], &relay); err != nil {
		return "", fmt.Errorf("reading what was rendered: %w", err)
	}
	var before programmed.Records
	if p.seen.config != nil {
		before = programmed.Parse(p.seen.config.Annotations[programmed.Annotation])
	}
	sources := map[string]string{}
	for i := range in.Policies {
		sources[render.PolicyName(&in.Policies[i])] = programmed.Source(&in.Policies[i])
	}
	after := programmed.Records{}
	for _, policy := range relay.Policies {
		data, err := json.Marshal(policy)
		if err != nil {
			return "", fmt.Errorf("encoding policy %s: %w", policy.Name, err)
		}
		record := before.Next(policy.Name, sources[policy.Name], config.Digest(data), generation)
		record.Shared = p.sharedRecord(policy.Name)
		after[policy.Name] = record
	}
	return after.Encode()
}
