package proxy

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/suuupra/gateway/core/upstream"
)

// errFull says that every connection to an endpoint stayed busy for too long.
var errFull = errors.New("all connections are busy")

// errClosed says that the endpoint was taken out of service.
var errClosed = errors.New("the endpoint is gone")

// pool holds the connections to one endpoint. The newest idle one is used first,
// so that a load that shrinks lets the others grow old and go.
//
// The lock is the endpoint's own and held for a few instructions, twice a
// request; dialling, peeking and closing happen outside.
type pool struct {
	proxy    *Proxy
	address  string
	settings upstream.ConnectionSettings
	sealing  *sealing // nil: plain HTTP

	mu      sync.Mutex
	idle    []*conn
	open    int // idle, busy, and being dialled
	waiting []*waiter
	closed  bool
}

// waiter is an exchange that waits for a connection. It is given one, or nil
// for leave to dial.
type waiter struct{ ready chan *conn }

// acquire returns an idle connection, or a new one, waiting for one to become free
// as long as connecting may take. Whether an idle one still lives is found out
// by its next use.
func (p *pool) acquire(t *trip) (*conn, error) {
	c, w, err := p.take(t.now)
	switch {
	case err != nil || c != nil:
		return c, err
	case w != nil:
		if c, err = p.wait(w, t.dialDue()); c != nil || err != nil {
			return c, err
		}
	}
	c, err = p.dial(t.dialDue())
	if err != nil {
		p.forget()
	}
	return c, err
}

// take returns an idle connection, or else counts one that the caller may dial;
// when there may be no more, it returns a waiter in the queue.
func (p *pool) take(now int64) (*conn, *waiter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	last := len(p.idle) - 1
	if last >= 0 && (p.idle[last].idleSince+int64(p.settings.IdleTimeout) > now || p.open >= p.settings.Maximum) {
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		return c, nil, nil
	}
	if p.open < p.settings.Maximum {
		p.open++
		return nil, nil, nil
	}
	w := &waiter{ready: make(chan *conn, 1)}
	p.waiting = append(p.waiting, w)
	return nil, w, nil
}

// wait waits for a connection, or for leave to dial one (nil).
func (p *pool) wait(w *waiter, due int64) (*conn, error) {
	p.proxy.metrics.queued.Add(0, 1)
	timer := p.proxy.clock.NewTimer(time.Duration(due - p.proxy.clock.Mono()))
	defer timer.Stop()
	select {
	case c, ok := <-w.ready:
		if !ok {
			return nil, errClosed
		}
		return c, nil
	case <-timer.C():
	}
	if p.leave(w) {
		return nil, errFull
	}
	// Somebody served the waiter in the same moment.
	c, ok := <-w.ready
	if !ok {
		return nil, errClosed
	}
	return c, nil
}

// leave takes a waiter out of the queue; false says that it was served.
func (p *pool) leave(w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.waiting {
		if other == w {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// put takes back a connection that can carry another request.
func (p *pool) put(c *conn, now int64) {
	c.reused = true
	p.mu.Lock()
	if w := p.next(); w != nil {
		p.mu.Unlock()
		w.ready <- c
		return
	}
	if p.closed || len(p.idle) >= p.settings.Idle {
		p.mu.Unlock()
		p.drop(c)
		return
	}
	c.idleSince = now
	p.idle = append(p.idle, c)
	p.mu.Unlock()
}

// drop closes a connection and lets another take its place.
func (p *pool) drop(c *conn) {
	p.proxy.sweeper.remove(c)
	if c.secure != nil {
		c.secure.farewell()
	}
	c.close()
	p.forget()
}

// surrender lets go of a connection that leaves HTTP. It counts for the pool no
// more: a tunnel may last for days, and must not starve requests.
func (p *pool) surrender(c *conn) {
	p.proxy.sweeper.remove(c)
	p.forget()
}

// forget counts a connection off; the first in the queue may dial in its place.
func (p *pool) forget() {
	p.mu.Lock()
	w := p.next()
	if w == nil {
		p.open--
	}
	p.mu.Unlock()
	if w != nil {
		w.ready <- nil
	}
}

// next takes the first waiter out of the queue. The lock is held.
func (p *pool) next() *waiter {
	if len(p.waiting) == 0 {
		return nil
	}
	w := p.waiting[0]
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	return w
}

// expire closes what has been idle for too long. The oldest stand first.
func (p *pool) expire(now int64) {
	limit := now - int64(p.settings.IdleTimeout)
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && p.idle[n].idleSince <= limit {
		n++
	}
	if n == 0 {
		p.mu.Unlock()
		return
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	p.mu.Unlock()
	for _, c := range old {
		p.drop(c)
	}
}

// Close closes the idle connections and refuses new exchanges; busy connections
// close when their exchange gives them back. It implements upstream.Connections.
func (p *pool) Close() {
	p.mu.Lock()
	idle, waiting := p.idle, p.waiting
	p.idle, p.waiting, p.closed = nil, nil, true
	p.mu.Unlock()
	for _, w := range waiting {
		close(w.ready)
	}
	for _, c := range idle {
		p.drop(c)
	}
	p.proxy.forgetPool(p)
}

// Count returns how many connections there are, and how many of them are idle.
// It implements upstream.Connections.
func (p *pool) Count() (open, idle int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, len(p.idle)
}

var _ upstream.Connections = (*pool)(nil)
