package upstream

import (
	"context"
	"testing"
	"time"
)

// probing has instances get a request every 100 ms, of which the service answers all well but
// takes its time, until all have closed or as many seconds are over.
func (p *party) probing(takes time.Duration, most int) (closed time.Duration, atOnce int) {
	type probe struct {
		b      *Breaker
		ticket Ticket
		began  int64
	}
	start := p.clock.Mono()
	var under []probe
	for range most * 10 {
		p.pass(100 * time.Millisecond)
		now := p.clock.Mono()
		var rest []probe
		holders := map[*Breaker]bool{}
		for _, u := range under {
			if now-u.began >= int64(takes) {
				u.b.Done(u.ticket, Final{Fate: Success, Latency: takes, Now: now})
			} else if rest = append(rest, u); u.b.Holds(u.ticket) {
				holders[u.b] = true
			}
		}
		under = rest
		all := true
		for _, b := range p.one {
			if ticket, ok := b.Admit(now, 0); ok && b.State() == HalfOpen {
				under = append(under, probe{b, ticket, now})
				holders[b] = true
			}
			all = all && b.State() == Closed
		}
		if all {
			return time.Duration(p.clock.Mono() - start), atOnce
		}
		atOnce = max(atOnce, len(holders))
	}
	return -1, atOnce
}

// TestALeaseLastsAsLongAsItsProbes: a service that has recovered but takes longer to answer than
// the lease lasts. Nobody else takes the lease, or each would throw the other's probes away.
func TestALeaseLastsAsLongAsItsProbes(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ open, takes time.Duration }{
		{time.Second, 500 * time.Millisecond}, {time.Second, 1500 * time.Millisecond}, {5 * time.Second, 4 * time.Second}, {5 * time.Second, 6 * time.Second},
		{300 * time.Millisecond, 3 * time.Second}, {5 * time.Second, 50 * time.Second},
	} {
		spec := sharedBreaking
		spec.Open, spec.Probes = v.open, 3
		inBubble(t, 3, spec, func(p *party) {
			p.send(p.one[0], 3, Failure)
			p.states(Open, Open, Open)
			closed, atOnce := p.probing(v.takes, 100)
			t.Logf("open %v, the service takes %v: closed after %v", v.open, v.takes, closed)
			if closed < 0 || closed > v.open+v.takes+600*time.Millisecond || atOnce > 1 {
				t.Errorf("open %v, the service takes %v: closed after %v, %d probed at a time", v.open, v.takes, closed, atOnce)
			}
			if p.store.leases > int(v.takes/(max(v.open, leastLease)/2))+2 {
				t.Errorf("%d leases were written", p.store.leases)
			}
		})
	}
}

// TestALeaseIsRenewedThoughAWriteIsLost.
func TestALeaseIsRenewedThoughAWriteIsLost(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		inBubble(t, 3, sharedBreaking, func(p *party) {
			p.send(p.one[0], 3, Failure)
			p.pass(5 * time.Second)
			n := 0
			p.store.failing(func(service string) (before, behind error) {
				if n++; service == "" || n%2 == 1 {
					return nil, nil
				}
				if done {
					return nil, context.DeadlineExceeded
				}
				return context.DeadlineExceeded, nil
			})
			if closed, atOnce := p.probing(30*time.Second, 100); closed < 0 || closed > 31*time.Second || atOnce > 1 {
				t.Errorf("closed after %v, %d probed at a time", closed, atOnce)
			}
		})
	}
}

// TestALeaseEndsWhenProbesHang: it is not renewed beyond the longest open time, then others may
// go.
func TestALeaseEndsWhenProbesHang(t *testing.T) {
	t.Parallel()
	inBubble(t, 2, sharedBreaking, func(p *party) {
		p.send(p.one[0], 3, Failure)
		p.pass(5 * time.Second)
		p.send(p.one[0], 1, Nothing)
		p.states(HalfOpen, Open)
		if _, ok := p.one[0].Admit(p.clock.Mono(), 0); !ok {
			t.Fatal("no probe went")
		}
		for range 59 {
			p.pass(time.Second)
			if p.send(p.one[1], 1, Success) > 0 {
				t.Fatal("another probed")
			}
		}
		p.pass(time.Second)
		if p.send(p.one[1], 1, Nothing); p.one[1].State() != HalfOpen {
			t.Errorf("the other is %v after the longest time; the record is %+v", p.one[1].State(), p.store.stands("s"))
		}
		if p.send(p.one[1], 1, Success) != 1 {
			t.Error("the other must not probe")
		}
		p.states(Closed, Closed)
	})
	inBubble(t, 1, sharedBreaking, func(p *party) { // nobody else has requests
		p.send(p.one[0], 3, Failure)
		p.pass(5 * time.Second)
		p.send(p.one[0], 1, Nothing)
		for range 600 { // all of them hang, and the record says nothing of those that come later
			p.one[0].Admit(p.clock.Mono(), 0)
			p.pass(time.Second)
		}
		p.pass(time.Hour)
		if got := p.store.stands("s"); p.store.leases > 25 || got.State != HalfOpen || got.For != 0 {
			t.Errorf("the lease was written %d times: %+v", p.store.leases, got)
		}
	})
}

// TestALeaseIsKeptForProbesAlone: whoever has none under way, for his clients leave or he has no
// requests, loses it. The longest time counts from when the first of them went, or one went
// well.
func TestALeaseIsKeptForProbesAlone(t *testing.T) {
	t.Parallel()
	spec := sharedBreaking
	spec.Probes = 2
	inBubble(t, 2, spec, func(p *party) {
		p.send(p.one[0], 3, Failure)
		p.pass(5 * time.Second)
		p.send(p.one[0], 1, Nothing)
		for range 3 {
			p.pass(time.Second)
			if p.send(p.one[0], 1, Nothing) != 1 || p.send(p.one[1], 1, Success) != 0 {
				t.Fatal("the lease is not held")
			}
		}
		p.pass(5 * time.Second)
		p.send(p.one[1], 1, Nothing)
		p.states(Open, HalfOpen)
	})
	inBubble(t, 1, spec, func(p *party) {
		p.send(p.one[0], 3, Failure)
		p.pass(5 * time.Second)
		p.send(p.one[0], 1, Nothing)
		p.pass(40 * time.Second) // until it has requests
		var tickets [2]Ticket
		for i := range tickets {
			tickets[i], _ = p.one[0].Admit(p.clock.Mono(), 0)
		}
		held := func(seconds int) {
			t.Helper()
			for n := range seconds {
				p.pass(time.Second)
				if got := p.store.stands("s"); got.State != HalfOpen || got.For == 0 {
					t.Fatalf("after %d s of %d the record is %+v", n, seconds, got)
				}
			}
		}
		held(50)
		p.one[0].Done(tickets[0], Final{Fate: Success, Now: p.clock.Mono()})
		held(50)
		p.one[0].Done(tickets[1], Final{Fate: Success, Now: p.clock.Mono()})
		p.pass(0)
		p.states(Closed)
	})
}
