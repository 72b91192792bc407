package relay

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/relay/spool"
)

// diskReserve is how many free octets the spool's file system keeps for finishing what was accepted: deliveries
// write too. Below it new mail is answered 452 4.3.1.
const diskReserve = 256 << 20

// disk watches the space that is left.
type disk struct{ low atomic.Bool }

func (d *disk) check(s *spool.Store) {
	free, err := s.Free()
	d.low.Store(err == nil && free < diskReserve)
}

func (d *disk) watch(ctx context.Context, s *spool.Store) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			d.check(s)
		}
	}
}
