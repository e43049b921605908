package upstream

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Ejection says when an endpoint that fails is taken out of rotation for a while. The
// zero value is never.
type Ejection struct {
	Consecutive  int           // failed tries in a row; 0: however many
	Ratio        float64       // failed tries as a share of those of ejectionWindow; 0: whatever it is
	Base         time.Duration // how long the first time; doubled by each relapse
	MaximumShare float64       // of the endpoints that may be out at once, 0 to 1; one may always, all never
}

// On says whether anything is ever ejected.
func (e *Ejection) On() bool { return e.Consecutive > 0 || e.Ratio > 0 }

// allows says whether one more of n endpoints may be out beside those that are.
func (e *Ejection) allows(n, out int) bool {
	most := max(int(e.MaximumShare*float64(n)+1e-9), 1)
	return out < min(most, n-1)
}

const (
	// ejectionWindow is what the share of failed tries is taken of, and ejectionMinimum
	// how many tries it must hold: one failure of one try is no ratio.
	ejectionWindow  = 10 * time.Second
	ejectionMinimum = 20
	// longestEjection bounds the time away, as a multiple of the first.
	longestEjection = 10
)

// Result is how a try at an endpoint ended, as far as that tells of the endpoint.
type Result uint8

// The results.
const (
	Answered    Result = iota // with a status that is no failure of the endpoint's
	Unreached                 // no connection could be made
	Lost                      // the connection broke before the answer was whole
	Overdue                   // no answer came in time
	Garbled                   // what came is no HTTP
	ServerError               // the answer's status is 5xx, and tells of the endpoint
)

// String is what happened, for logs.
func (r Result) String() string {
	return [...]string{"it answered", "no connection", "connection broken", "timeout", "invalid answer", "status 5xx"}[r]
}

// trial is how an endpoint has been doing. Only failures write it, and the success that
// ends a row of them.
type trial struct {
	inRow atomic.Uint32 // failures since the last success

	mu     sync.Mutex
	failed uint64 // in all
	// Of the window: when it began, by a failure, and what had been begun and failed before.
	start                     int64
	startBegan, startFailed   uint64
	returnBegan, returnFailed uint64 // the same when the endpoint last came back
}

// fail counts a failure at now, when the endpoint has begun that many requests, and
// returns how many tries the window holds, and how many of these failed.
func (t *trial) fail(now int64, began uint64) (inRow uint32, tries, failed uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.start == 0 || now-t.start > int64(ejectionWindow) {
		t.start, t.startBegan, t.startFailed = now, began-1, t.failed
	}
	t.failed++
	return t.inRow.Add(1), since(began, t.startBegan), t.failed - t.startFailed
}

// since is how many requests were begun between two readings of a counter that goes
// round.
func since(now, then uint64) uint64 { return (now - then) & (math.MaxUint64 >> inFlightBits) }

// anew begins a new window, and a row of that many failures.
func (t *trial) anew(inRow uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.start = 0
	t.inRow.Store(inRow)
}

// back notes that the endpoint is in rotation again.
func (t *trial) back(began uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.returnBegan, t.returnFailed = began, t.failed
}

// recovered says whether most tries since the return were answered.
func (t *trial) recovered(began uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return 2*(t.failed-t.returnFailed) < since(began, t.returnBegan)
}

// Report says how a try at e ended. What says nothing of the endpoint is not reported:
// that the client left, or that the gateway itself had no room. It may take an endpoint out of
// rotation. While all goes well it writes nothing that others read.
func (s *Service) Report(e *Endpoint, o Result) {
	if !s.ejects {
		return
	}
	if o == Answered {
		if e.trial.inRow.Load() != 0 {
			e.trial.inRow.Store(0)
		}
		return
	}
	if e.state.ejected.Load() {
		return // begun before, or nobody else is left to ask
	}
	r := s.registry
	now, began := r.clock.Mono(), e.Requests()
	inRow, tries, failed := e.trial.fail(now, began)
	switch limits := &s.spec.Ejection; {
	case limits.Consecutive > 0 && inRow >= uint32(limits.Consecutive):
		r.eject(s, e, "too many failures in a row", o)
	case limits.Ratio > 0 && tries >= ejectionMinimum && float64(failed) >= limits.Ratio*float64(tries):
		r.eject(s, e, "too large a share of failures", o)
	}
}

// eject takes e out of rotation for a while, unless too many are out already: then it
// may fail as often again before that is looked at once more.
func (r *Registry) eject(s *Service, e *Endpoint, reason string, last Result) {
	r.mu.Lock()
	defer r.unlock()
	st := e.state
	if st.ejected.Load() || r.states[names{s.Name, e.Address}] != st {
		return // by another try, or the endpoint has left
	}
	limits := &s.spec.Ejection
	e.trial.anew(0)
	if !s.spares(e) {
		return
	}
	now := r.clock.Mono()
	in := st.in()
	if st.relapses > 0 && now-st.returned >= st.away && e.trial.recovered(e.Requests()) {
		st.relapses = 0
	}
	st.away = min(int64(limits.Base)<<min(st.relapses, 8), longestEjection*int64(limits.Base))
	st.relapses++
	st.until = now + st.away
	st.strict = uint32(max(limits.Consecutive-1, 0))
	st.ejections++
	st.ejected.Store(true)
	r.out[st] = struct{}{}
	r.moved(st, in, Notice{Reason: "ejected: " + reason + "; the last: " + last.String(), For: time.Duration(st.away)})
	r.wakeUp()
}

// spares says whether s can do without e: another endpoint is in service, and few
// enough are ejected. Called under mu.
func (s *Service) spares(e *Endpoint) bool {
	open, out, others := 0, 0, 0
	for _, m := range s.members {
		switch {
		case m.state.drained:
			continue
		case m.state.ejected.Load():
			out++
		case m.state.able() && m.state != e.state:
			others++
		}
		open++
	}
	return others > 0 && s.spec.Ejection.allows(open, out)
}

// readmit puts back those whose time is over. The first failure of such an endpoint sends
// it away again, for longer, until it has answered once. Called under mu.
func (r *Registry) readmit(now int64) {
	for st := range r.out {
		if st.until > now {
			continue
		}
		delete(r.out, st)
		in := st.in()
		st.ejected.Store(false)
		st.returned = now
		for _, e := range st.endpoints {
			e.trial.anew(st.strict)
			e.trial.back(e.Requests())
		}
		r.moved(st, in, Notice{Reason: "its ejection is over"})
	}
}
