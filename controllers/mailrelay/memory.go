package mailrelay

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/postrider/postrider/api/v1alpha1"
	"github.com/postrider/postrider/controllers/desired"
	"github.com/postrider/postrider/controllers/render"
)

// memory is what the operator remembers of a relay between two looks. It can be lost at any time: then things
// are asked again, and take a little longer.
type memory struct {
	// uid is of the relay that this is about: one made again under the same name is another.
	uid types.UID
	// reported is when the status was last written.
	reported time.Time
	// drains are the pods that have been found empty since they take no new mail.
	drains map[types.UID]drain
	// keeps are the generations whose shares pods keep to.
	keeps map[types.UID]int64
	// marks are those that were put on claims, by the claims' UID; deleted are the claims that were, and when.
	marks   map[types.UID]marked
	deleted map[types.UID]time.Time
	// queued is what pods held when they last answered, by ordinal.
	queued map[int32]int64
	// volumes are those of the claims there were, by the claims' UID.
	volumes map[types.UID]volume
	// ending is since when none of the pods of a relay that is being deleted need stay.
	ending time.Time
	// losses are the verdicts on pods whose nodes are lost, so that each is told once.
	losses map[types.UID]verdict
	// released says that the relay was let go. Until the cache knows, it must not be taken up again.
	released bool
	// formats are the newest formats of a configuration that pods have said to read, by their image.
	formats map[string]int
	// reshaping says that the shape of the pods was changed, and that it has not been seen yet which of them are outdated.
	reshaping bool
	// growth is what the API server said when claims were last to grow.
	growth refusedGrowth
	// template is that of the StatefulSet that was deleted to be made anew.
	template *desired.Kept
	// names is what is known of the names of egress addresses.
	names names
	// signing is what the domains sign with, by SendingDomain.
	signing map[types.UID]signing
}

// signing are the keys that a domain was last found to sign with.
type signing struct {
	// set is the one that they are, for these algorithms: it never changes, so there is no need to read it again. It is empty
	// where the Secret lacked the keys, so that it is.
	set        string
	algorithms []v1alpha1.DKIMAlgorithm
	keys       []render.Key
}

type memories struct {
	mu sync.Mutex
	of map[client.ObjectKey]*memory
}

// get returns the memory of a relay. One relay is never reconciled twice at the same time.
func (m *memories) get(key client.ObjectKey, uid types.UID) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of[key] == nil || m.of[key].uid != uid {
		m.of[key] = &memory{
			uid: uid, drains: map[types.UID]drain{}, marks: map[types.UID]marked{}, deleted: map[types.UID]time.Time{}, signing: map[types.UID]signing{},
			queued: map[int32]int64{}, volumes: map[types.UID]volume{},
		}
	}
	return m.of[key]
}

func (m *memories) drop(key client.ObjectKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, key)
}
