package admin

import (
	"net/http"
	"sort"
	"time"

	"github.com/postrider/postrider/relay/status"
)

// Ages say how old the mail in the queue is, for each of the destinations whose mail has waited longest.
type Ages struct {
	// Bounds are the ages, in seconds, that divide the counts: the first is of messages younger than the first bound, the
	// last of those that are as old as the last or older.
	Bounds []int64 `json:"bounds"`
	// Queue is that of all destinations, in recipients.
	Queue        status.Queue      `json:"queue"`
	Destinations []DestinationAges `json:"destinations"`
}

// DestinationAges is a destination, why its mail waits, and how old it is.
type DestinationAges struct {
	status.Destination
	// Messages are counts by age, one more than there are bounds.
	Messages []int64 `json:"messages"`
	// Partial says that there are more than were counted: the oldest were, what is missing is younger.
	Partial bool `json:"partial,omitempty"`
}

// AgeBounds are those of Ages, in seconds.
func AgeBounds() []int64 {
	const minute, hour = 60, 3600
	return []int64{minute, 5 * minute, 15 * minute, hour, 4 * hour, 12 * hour, 24 * hour, 48 * hour}
}

// AgeBucket is the count among DestinationAges.Messages that an age belongs to. A message of the future is young.
func AgeBucket(age time.Duration) int {
	bounds := AgeBounds()
	return sort.Search(len(bounds), func(i int) bool { return age < time.Duration(bounds[i])*time.Second })
}

// serveAges counts by age; the name is no spool id.
func serveAges(mux *http.ServeMux, r Relay) {
	mux.HandleFunc("GET /queue/ages", func(w http.ResponseWriter, req *http.Request) {
		limit, err := parseLimit(req)
		if err != nil {
			refuse(w, err)
			return
		}
		ages, err := r.Ages(min(limit, DefaultPage))
		respond(w, ages, err)
	})
}
