package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/suuupra/gateway/core/ticket"
)

// ticketSpace is where tickets are kept.
const ticketSpace = "ticket:"

// Tickets keeps tickets in Redis, for all instances. Tickets of an instance that is
// cut off from Redis are refused: it can't know whether they were used. It may be used
// concurrently.
type Tickets struct{ client *Client }

var _ ticket.Store = (*Tickets)(nil)

// NewTickets returns the tickets of a server.
func NewTickets(client *Client) *Tickets { return &Tickets{client} }

// Put is ticket.Store's.
func (t *Tickets) Put(ctx context.Context, key string, value []byte, life time.Duration) error {
	raw := t.client.Raw()
	command := raw.B().Set().Key(t.client.Key(ticketSpace, key)).Value(rueidis.BinaryString(value)).Px(life).Build()
	if err := raw.Do(ctx, command).Error(); err != nil {
		return fmt.Errorf("keeping a ticket: %w: %w", ticket.ErrUnavailable, err)
	}
	return nil
}

// Take is ticket.Store's. GETDEL is one step of the server (Redis 6.2), and is not
// tried again: the first try may have had it.
func (t *Tickets) Take(ctx context.Context, key string) ([]byte, error) {
	raw := t.client.Raw()
	value, err := raw.Do(ctx, raw.B().Getdel().Key(t.client.Key(ticketSpace, key)).Build()).AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("taking a ticket: %w: %w", ticket.ErrUnavailable, err)
	}
	return value, nil
}
