package dns

import (
	"context"
	"net/netip"

	mdns "github.com/miekg/dns"
)

// A returns the IPv4 addresses of a name alone: a block list is not asked twice.
func (c *Client) A(ctx context.Context, name string) ([]netip.Addr, error) {
	records, err := c.lookup(ctx, name, mdns.TypeA)
	if err != nil {
		return nil, err
	}
	return addresses(records), nil
}
