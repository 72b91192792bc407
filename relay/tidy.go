package relay

import (
	"context"
	"time"
)

const (
	// tidyEvery is how often the spool is asked to give room back.
	tidyEvery = time.Second
	// tidyAgain is how long it is left alone when it could not: a full disk stays full for a while.
	tidyAgain = 30 * time.Second
)

// tidy has the spool give back the room of large messages that are gone.
func (r *Relay) tidy(ctx context.Context) {
	timer := time.NewTimer(tidyEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		again := tidyEvery
		if err := r.spool.Tidy(ctx); err != nil {
			r.log.Warn("the room of large messages that are gone is not given back yet; trying again", "error", err)
			again = tidyAgain
		}
		timer.Reset(again)
	}
}
