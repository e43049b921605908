package limit

import (
	"errors"
	"sync"
	"time"
)

const (
	workerCount = 4   // calls that may be under way
	mostAsks    = 128 // in one of them
	lookEvery   = 125 * time.Millisecond
	quietLooks  = 2               // after which what is held is given back
	forgetAfter = 2 * time.Second // a counter that nobody needs is forgotten
	coldShare   = 16              // of the counters that hold nothing is looked at each time
)

// workers are the goroutines of a Leased, and what they have to do.
type workers struct {
	stop    chan struct{}
	closing sync.Once
	stopped sync.WaitGroup
	bell    chan struct{} // rings when there is something in queue

	mu    sync.Mutex // taken once for each call of a counter
	queue []*holding
	fresh []*holding // to be looked at

	hot, cold []*holding // of the one who looks
	hand      int        // in cold
}

// start has workers ask, and one goroutine look after what is held; Close awaits them.
func (l *Leased) start() {
	for range workerCount {
		l.pool.stopped.Go(l.work)
	}
	l.pool.stopped.Go(l.lookAfter)
}

// wake has a worker ask for h.
func (l *Leased) wake(h *holding) {
	if !h.queued.CompareAndSwap(false, true) {
		return
	}
	l.pool.mu.Lock()
	l.pool.queue = append(l.pool.queue, h)
	l.pool.mu.Unlock()
	l.ring()
}

func (l *Leased) ring() {
	select {
	case l.pool.bell <- struct{}{}:
	default:
	}
}

// watch has h looked at.
func (l *Leased) watch(h *holding) {
	l.pool.mu.Lock()
	l.pool.fresh = append(l.pool.fresh, h)
	l.pool.mu.Unlock()
}

// work asks for those that are queued, many in one call, until the Leased is closed.
func (l *Leased) work() {
	for {
		select {
		case <-l.pool.stop:
			return
		case <-l.pool.bell:
		}
		for batch := l.dequeue(); len(batch) > 0; batch = l.dequeue() {
			l.ask(batch, false)
		}
	}
}

// dequeue returns some of those that are queued. If there are more another worker is rung.
func (l *Leased) dequeue() []*holding {
	p := &l.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.queue), mostAsks)
	batch := append([]*holding(nil), p.queue[:n]...)
	rest := copy(p.queue, p.queue[n:])
	clear(p.queue[rest:])
	p.queue = p.queue[:rest]
	if rest > 0 {
		l.ring()
	}
	return batch
}

// ask makes one call for several holdings. It says whether all of it was done.
func (l *Leased) ask(batch []*holding, retire bool) bool {
	var asks []*Ask
	of := batch[:0]
	now := l.boot()
	for _, h := range batch {
		if a := h.prepare(now, retire); a != nil {
			asks, of = append(asks, a), append(of, h)
		}
	}
	if len(asks) == 0 {
		return true
	}
	l.asks.Add(int64(len(asks)))
	sent := l.boot()
	l.lessor.Lease(asks)
	answered := l.boot()
	done := true
	for i, a := range asks {
		of[i].settle(a, sent, answered)
		done = done && a.Err == nil
		if a.Err == nil || errors.Is(a.Err, ErrCounter) {
			l.answers.Add(1)
		}
	}
	return done
}

// lookAfter looks after what is held until the Leased is closed.
func (l *Leased) lookAfter() {
	timer := l.clock.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case <-l.pool.stop:
			return
		case <-timer.C():
		}
		l.look(l.boot())
		timer.Reset(lookEvery)
	}
}

// look goes through those that hold something, and some of the others, of which it forgets
// those that nobody needs.
func (l *Leased) look(now int64) {
	p := &l.pool
	p.mu.Lock()
	p.hot = append(p.hot, p.fresh...)
	p.fresh = p.fresh[:0]
	p.mu.Unlock()
	kept := p.hot[:0]
	for _, h := range p.hot {
		if h.look(now) {
			kept = append(kept, h)
		} else if !h.cold {
			h.cold = true
			p.cold = append(p.cold, h)
		}
	}
	clear(p.hot[len(kept):])
	p.hot = kept
	for range len(p.cold)/coldShare + min(1, len(p.cold)) {
		if p.hand >= len(p.cold) {
			p.hand = 0
		}
		h := p.cold[p.hand]
		if !h.idle(now) {
			p.hand++
			continue
		}
		if l.holdings.CompareAndDelete(h.print, h) {
			l.count.Add(-1)
		}
		h.cold = false
		last := len(p.cold) - 1
		p.cold[p.hand], p.cold[last] = p.cold[last], nil
		p.cold = p.cold[:last]
		if last == 0 {
			return
		}
	}
}

// Close gives back all that is held, and ends the goroutines. Take fails from then on; who
// waits fails after his timeout at most. It waits for the calls, and stops at the first
// that fails: what is not given back is lost when it expires.
func (l *Leased) Close() {
	l.pool.closing.Do(func() {
		l.closed.Store(true)
		close(l.pool.stop)
		l.pool.stopped.Wait()
		var batch []*holding
		for _, found := range l.all() {
			if batch = append(batch, found); len(batch) == mostAsks {
				if !l.ask(batch, true) {
					return
				}
				batch = batch[:0]
			}
		}
		l.ask(batch, true)
	})
}

// all returns every holding.
func (l *Leased) all() (all []*holding) {
	l.holdings.Range(func(_, value any) bool {
		all = append(all, value.(*holding))
		return true
	})
	return all
}
