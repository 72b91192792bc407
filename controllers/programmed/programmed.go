// Package programmed owns the record of which policies a relay's configuration holds and since when, by which
// it can be told whether a policy is in force in a pod. The record stands on the relay's ConfigMap.
package programmed

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/postrider/postrider/api/v1alpha1"
)

// Annotation holds the Records, on the ConfigMap of ConfigMapName.
const Annotation = "postrider.dev/policies"

// ConfigMapName is the ConfigMap that holds a relay's configuration.
func ConfigMapName(relay string) string { return relay + "-config" }

// Records are the policies of a configuration, by the name that the relay knows them under.
type Records map[string]Record

// Record is one policy.
type Record struct {
	// Source is the object and the generation of it that was rendered; see Source.
	Source string `json:"source"`
	// Digest is that of the policy as it is rendered.
	Digest string `json:"digest"`
	// Since is the generation of the configuration that first held it like that.
	Since int64 `json:"since"`
	// Shared is about a limit that pods share; nil for any other.
	Shared *Shared `json:"shared,omitempty"`
}

// Shared is how far pods share a limit.
type Shared struct {
	// Effective are the limits that all pods keep to together.
	Effective v1alpha1.Limits `json:"effective"`
	// Moving says that this is not all yet: some pods wait for what others have to give up.
	Moving bool `json:"moving,omitempty"`
	// Without are the pods that have no share.
	Without []string `json:"without,omitempty"`
}

// Source names a generation of an object; one made again under the same name is another.
func Source(o metav1.Object) string { return fmt.Sprintf("%s/%d", o.GetUID(), o.GetGeneration()) }

// Parse reads Records; what cannot be read is as if there were none.
func Parse(annotation string) Records {
	var r Records
	if json.Unmarshal([]byte(annotation), &r) != nil {
		return nil
	}
	return r
}

// Encode is for Parse.
func (r Records) Encode() (string, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encoding the policies: %w", err)
	}
	return string(data), nil
}

// Next is the record of a policy in a configuration of this generation, r being those before.
func (r Records) Next(name, source, digest string, generation int64) Record {
	if old, ok := r[name]; ok && old.Digest == digest {
		generation = old.Since
	}
	return Record{Source: source, Digest: digest, Since: generation}
}
