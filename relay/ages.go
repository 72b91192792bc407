package relay

import (
	"time"

	"github.com/postrider/postrider/relay/admin"
	"github.com/postrider/postrider/relay/envelope"
	"github.com/postrider/postrider/relay/spool"
	"github.com/postrider/postrider/relay/status"
)

// countable is how many messages of a destination are counted by age, the oldest first: their names alone are read, some
// milliseconds' worth.
const countable = 20_000

// Ages implements admin.Relay.
func (r *Relay) Ages(limit int) (admin.Ages, error) {
	now := time.Now()
	ages := admin.Ages{Bounds: admin.AgeBounds(), Queue: queueOf(r.spool.Totals(), r.spool.Oldest())}
	for _, d := range r.slowest(limit) {
		of := admin.DestinationAges{Destination: d}
		var err error
		if of.Messages, of.Partial, err = r.agesOf(d, now); err != nil {
			return ages, err
		}
		ages.Destinations = append(ages.Destinations, of)
	}
	return ages, nil
}

// agesOf counts the messages for a destination by age.
func (r *Relay) agesOf(d status.Destination, now time.Time) (messages []int64, partial bool, err error) {
	messages = make([]int64, len(admin.AgeBounds())+1)
	var after envelope.Key
	for counted := 0; counted < countable; {
		page, err := r.spool.Keys(spool.Filter{Domain: d.Domain}, after, actPage)
		if err != nil {
			return nil, false, err
		}
		for _, k := range page {
			messages[admin.AgeBucket(now.Sub(spool.AcceptedAt(k.ID)))]++
		}
		if len(page) < actPage {
			return messages, false, nil
		}
		counted += len(page)
		after = page[len(page)-1]
	}
	return messages, true, nil
}
