package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/condition"
	"github.com/postrider/postrider/controllers/manifest"
)

// stateFile is where a data directory keeps what the cluster would keep in its objects.
const stateFile = "state.json"

// State is what is known of a data directory's relays between runs, and what `postrider status` starts from. It
// holds no secret.
type State struct {
	Relays   []RelayState               `json:"relays"`
	Domains  []v1alpha1.SendingDomain   `json:"domains"`
	Policies []v1alpha1.RateLimitPolicy `json:"policies"`
}

// RelayState is what is known of a relay besides what it says itself.
type RelayState struct {
	Relay *v1alpha1.MailRelay `json:"relay"`
	// Endpoint is where its first listener listens.
	Endpoint string `json:"endpoint"`
	// Generation is that of its newest configuration.
	Generation   int64                   `json:"generation"`
	Secrets      []condition.Secret      `json:"secrets,omitempty"`
	Certificates []condition.Certificate `json:"certificates,omitempty"`
}

// readState reads the state of a data directory; one that is new has none.
func readState(dataDir string) (*State, error) {
	path := filepath.Join(dataDir, stateFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &State{}, nil
	}
	if err != nil {
		return nil, err
	}
	s := &State{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func (s *State) write(dataDir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dataDir, stateFile), append(data, '\n'))
}

// recall gives objects the age and the status they had. A SendingDomain that names another domain now is a new one.
func (s *State) recall(set *manifest.Set) {
	for i := range set.Relays {
		r := &set.Relays[i]
		for _, old := range s.Relays {
			if key(old.Relay.Namespace, old.Relay.Name) == key(r.Namespace, r.Name) {
				r.CreationTimestamp = old.Relay.CreationTimestamp
			}
		}
	}
	for i := range set.Domains {
		d := &set.Domains[i]
		for _, old := range s.Domains {
			if key(old.Namespace, old.Name) == key(d.Namespace, d.Name) && old.Spec.Domain == d.Spec.Domain {
				d.CreationTimestamp, d.Status = old.CreationTimestamp, old.Status
			}
		}
	}
	for i := range set.Policies {
		p := &set.Policies[i]
		for _, old := range s.Policies {
			if key(old.Namespace, old.Name) == key(p.Namespace, p.Name) {
				p.CreationTimestamp = old.CreationTimestamp
			}
		}
	}
}

func key(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}
