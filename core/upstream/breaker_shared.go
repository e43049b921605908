package upstream

import "time"

// shared is what a breaker knows of its record, and has to tell. It is guarded by the
// breaker's mu.
type shared struct {
	epoch uint64 // of the record that was written or followed last
	tells bool   // what it is now is to be written
	asks  bool   // it wants the lease
	by    string // what its records are signed with
	// saying is the stance that is being told of, by the courier alone.
	saying *stance
}

// tell has other instances hear of what the breaker is now. Called under mu.
func (b *Breaker) tell() {
	if s := b.sharing.Load(); s != nil {
		b.shared.tells, b.shared.asks = true, false
		s.speak(b)
	}
}

// ask asks for the lease, if the stance is still s and nobody has asked yet.
func (b *Breaker) ask(sharing *sharing, s *stance) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stance.Load() == s && !b.shared.asks {
		b.shared.asks = true
		sharing.speak(b)
	}
}

// lease is how long a lease lasts.
func (b *Breaker) lease() time.Duration { return max(b.spec.Open, leastLease) }

// renewal is when the lease is to be renewed; false if it is not, for there is none, or no
// probe is under way that could take longer than it.
func (b *Breaker) renewal() (int64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.renewalLocked(b.stance.Load())
}

// renewalLocked is renewal under mu.
func (b *Breaker) renewalLocked(s *stance) (int64, bool) {
	if s.state != HalfOpen || s.under.Load() <= 0 {
		return 0, false
	}
	return s.renew, s.renew < s.word.Load()+int64(b.spec.OpenMaximum)
}

// news is what is to be written at now, the time of day, behind which epoch; false if there
// is nothing.
func (b *Breaker) news(now int64, day time.Time) (after uint64, r BreakerRecord, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stance.Load()
	// It may have heard meanwhile that somebody else was quicker.
	b.shared.asks = b.shared.asks && s.state == Open && s.forced == Unforced && now >= s.until
	if when, ok := b.renewalLocked(s); ok && now >= when {
		b.shared.tells, s.renew = true, now+int64(b.lease()/2)
	}
	if b.shared.saying = s; !b.shared.tells && !b.shared.asks {
		return 0, r, false
	}
	r = BreakerRecord{State: s.state, Failures: b.failures, By: b.shared.by}
	if b.lastFailure != 0 {
		r.LastFailure = day.Add(time.Duration(b.lastFailure - now))
	}
	switch {
	case b.shared.asks:
		r.State, r.For = HalfOpen, b.lease()
	case s.state == HalfOpen:
		r.For = max(min(b.lease(), time.Duration(s.word.Load()-now)+b.spec.OpenMaximum), 0)
	case s.state == Open:
		r.For = time.Duration(max(s.until-now, 0))
	}
	return b.shared.epoch, r, true
}

// said notes what came of writing r: what stands there now. false asks to write again.
func (b *Breaker) said(r, stands BreakerRecord, written bool, now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stance.Load()
	if s != b.shared.saying { // it has changed meanwhile, and may have other news
		if written || stands.By == r.By || b.shared.tells {
			b.shared.epoch = stands.Epoch // else it is read, and followed
		}
		return false
	}
	b.shared.epoch = stands.Epoch
	if !written && stands.By == r.By {
		return false // the answer to an earlier write was lost
	}
	if written {
		if b.shared.tells = false; r.State == HalfOpen && s.state == Open {
			b.halfOpenLocked(s, now, "it has the lease")
			b.shared.asks = false
		}
		return !b.shared.asks // it was asked while something else was written
	}
	over := stands.For <= 0 && stands.State != Closed
	trips := r.State == Open
	if over && (trips || b.shared.asks) || trips && stands.State == Closed {
		return false // it may be taken over, or was said before what we have seen
	}
	b.shared.tells, b.shared.asks = false, false
	b.heed(stands, now)
	return true
}

// alone has the breaker do by itself what it could not ask for. What it had to tell it
// still has to.
func (b *Breaker) alone(now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.stance.Load(); b.shared.asks && s.state == Open && s.forced == Unforced {
		b.halfOpenLocked(s, now, "its time is over")
		b.shared.tells = true
	}
	b.shared.asks = false
}

// follow does what the record of another instance says.
func (b *Breaker) follow(r BreakerRecord, now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Epoch == b.shared.epoch || b.shared.tells {
		return // it is known, or what we have to tell will show which one holds
	}
	b.shared.epoch = r.Epoch
	b.heed(r, now)
}

// heed is follow for a record that is news. Called under mu.
func (b *Breaker) heed(r BreakerRecord, now int64) {
	s := b.stance.Load()
	if s.forced != Unforced {
		return
	}
	const because = "another instance said so"
	if r.State == Closed {
		if s.state != Closed {
			b.change(s, &stance{state: Closed, since: now, lasts: s.lasts}, Transition{Because: because}, now)
		}
		return
	}
	if s.state == Closed && b.well(s, now) {
		return
	}
	wait := min(r.For, b.spec.OpenMaximum)
	next := &stance{state: Open, since: now, until: now + int64(wait), lasts: min(max(s.lasts, wait, b.spec.Open), b.spec.OpenMaximum)}
	next.patience = next.until + int64(b.spec.OpenMaximum)
	if r.State == HalfOpen && s.state != Closed {
		next.patience, next.lasts = s.patience, s.lasts
	}
	b.change(s, next, Transition{Because: because, For: wait}, now)
}

// ordinary is the share of failures that opens a breaker which names none.
const ordinary = 0.5

// well says that what was seen here speaks against opening: enough outcomes, and less than
// half the share that would open. Called under mu.
func (b *Breaker) well(s *stance, now int64) bool {
	total, failures, slow := b.window(s, now)
	share := b.spec.Failures
	if share == 0 {
		share = ordinary
	}
	return total >= uint64(max(b.spec.Minimum, 1)) && float64(failures) < share/2*float64(total) &&
		(b.spec.SlowShare == 0 || float64(slow) < b.spec.SlowShare/2*float64(total))
}
