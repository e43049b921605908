package upstream

import (
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// Notice says that an endpoint came into service, or left it.
type Notice struct {
	Service  string
	Endpoint string // empty: it is about the service
	In       bool   // in service from now on
	Reason   string
	For      time.Duration // how long it stays away; 0 if that is not known
}

// never is the time that does not come, in monotonic nanoseconds.
const never = int64(1<<63 - 1)

// Tend gives the registry the time, which ejections and slow start need, and says who
// is told of endpoints that come into service and leave it: notice is called without a
// lock, on any goroutine. Tend is called before the first Acquire; without it nothing is
// ejected and nothing starts slowly. Close ends the goroutine that this may start.
func (r *Registry) Tend(c clock.Clock, notice func(Notice)) { r.clock, r.notice = c, notice }

// Close ends what the registry does by itself, and waits for it. Services may be
// released afterwards.
func (r *Registry) Close() {
	r.mu.Lock()
	tending, sharing := r.tending, r.guards.sharing
	if !r.closed {
		r.closed = true
		close(r.closing)
	}
	r.mu.Unlock()
	if tending {
		<-r.tended
	}
	if sharing != nil {
		sharing.close()
	}
}

// now is the time; 0 without a clock.
func (r *Registry) now() int64 {
	if r.clock == nil {
		return 0
	}
	return r.clock.Mono()
}

// wakeUp has the times looked at anew. The goroutine that waits for them is started by the
// first one that there is. Called under mu.
func (r *Registry) wakeUp() {
	if r.clock == nil || r.closed {
		return
	}
	if !r.tending {
		r.tending = true
		go r.tend()
		return
	}
	select {
	case r.wake <- struct{}{}:
	default: // it is being woken
	}
}

// tend puts ejected endpoints back when their time is over, and takes the steps of slow
// starts, until Close.
func (r *Registry) tend() {
	defer close(r.tended)
	for {
		due := r.pass()
		var fired <-chan time.Time
		var timer clock.Timer
		if due != never {
			timer = r.clock.NewTimer(time.Duration(due - r.clock.Mono()))
			fired = timer.C()
		}
		select {
		case <-fired:
		case <-r.wake:
		case <-r.closing:
		}
		if timer != nil {
			timer.Stop()
		}
		select {
		case <-r.closing:
			return
		default:
		}
	}
}

// pass does what is due, and returns when there is something to do again.
func (r *Registry) pass() int64 {
	r.mu.Lock()
	defer r.unlock()
	now := r.clock.Mono()
	r.readmit(now)
	due := never
	for _, s := range r.services {
		if s.nextStep <= now {
			r.arrange(s)
		}
		due = min(due, s.nextStep)
	}
	for st := range r.out {
		due = min(due, st.until)
	}
	return due
}

// tell keeps n until the lock is given back. Called under mu.
func (r *Registry) tell(n Notice) {
	if r.notice != nil {
		r.news = append(r.news, n)
	}
}

// unlock gives the lock back and tells what has happened meanwhile.
func (r *Registry) unlock() {
	news := r.news
	r.news = nil
	r.mu.Unlock()
	for _, n := range news {
		r.notice(n)
	}
}
