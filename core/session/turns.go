package session

import (
	"context"
	"fmt"
	"sync"
)

// turns lets the first of those who refresh one session at once go ahead here: the
// others wait for it, and find its pair. That spares signatures; that one pair counts is
// the store's doing. The lock is held for a few instructions.
type turns struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // by session; closed when the turn is over
}

// take waits for the turn of somebody else, once, or takes it; done gives it back. It
// fails when ctx ends first.
func (t *turns) take(ctx context.Context, session string) (done func(), err error) {
	t.mu.Lock()
	ahead := t.taken[session]
	if ahead == nil {
		mine := make(chan struct{})
		t.taken[session] = mine
		t.mu.Unlock()
		return func() {
			t.mu.Lock()
			delete(t.taken, session)
			t.mu.Unlock()
			close(mine)
		}, nil
	}
	t.mu.Unlock()
	select {
	case <-ahead:
		return func() {}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: waiting for another refresh of the session: %w", ErrUnavailable, ctx.Err())
	}
}
