package upstream

import (
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// stays is a caller that does not leave.
type stays struct{}

func (stays) Gone() bool { return false }

// TestGradientLetsOthersBesideStreams: 80 of 100 places are held by streams that answer
// nothing, while short requests come in bursts that fill the rest. A trial must not shut the
// service off until streams end, be it that one has begun before they came.
func TestGradientLetsOthersBesideStreams(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ streams, tried int }{"streams": {80, 0}, "streams that come in a trial": {80, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := clock.NewFake(time.Unix(1, 0))
			b := NewBulkhead(BulkheadSpec{Maximum: 100, QueueTimeout: time.Second, Adaptive: true}, fake)
			for range c.streams {
				b.Enter()
			}
			if c.tried > 0 {
				b.gradient.mu.Lock()
				b.gradient.begin(batch{n: 1000, sum: 1000 * 30e6, lasted: 1e9, peak: 100}, false, fake.Mono())
				b.gradient.answered.Store(int64(b.gradient.limit))
				b.gradient.mu.Unlock()
			}
			var under []int64 // when short ones began
			came, turnedAway := 0, 0
			for ms := range 60_000 {
				fake.Advance(time.Millisecond)
				now := fake.Mono()
				for len(under) > 0 && now-under[0] >= int64(30*time.Millisecond) {
					b.Done(Final{Fate: Success, Latency: time.Duration(now - under[0]), Now: now})
					b.Leave()
					under = under[1:]
				}
				if ms%300 >= 20 && ms%4 > 0 { // a burst of 20 every 300 ms, and 250 a second
					continue
				}
				came++
				if b.Enter() || b.Wait(stays{}, now+int64(time.Second)) == Entered {
					under = append(under, now)
				} else {
					turnedAway++
				}
			}
			if most := came / 20; turnedAway > most {
				t.Errorf("%d of %d were turned away, want %d at most; the limit is %d", turnedAway, came, most, b.View().Limit)
			}
		})
	}
}
