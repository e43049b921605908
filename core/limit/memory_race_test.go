package limit_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/limit/limittest"
)

// A bound holds in every span of the store's own time, while counters come and go, the
// table grows and shrinks, a second level denies, and a policy is stated anew.
func TestRL8_NoSpanAdmitsMore(t *testing.T) {
	t.Parallel()
	for _, a := range []limit.Algorithm{limit.TokenBucket, limit.SlidingWindow, limit.SlidingLog} {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			c := clock.Real()
			m := limit.NewMemory(c, limit.MemoryOptions{})
			defer m.Close()
			p := &limit.Policy{Name: "p", Algorithm: a, Count: 3, Per: time.Millisecond}
			scarce := &limit.Policy{Name: "scarce", Algorithm: limit.TokenBucket, Count: 1, Per: 3 * time.Millisecond, Burst: 2}
			if a == limit.TokenBucket {
				p.Burst = 4
			}
			const keys = 4
			stop := make(chan struct{})
			var sweeping, asking sync.WaitGroup
			sweeping.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					m.Sweep()
					other := limit.Charge{Policy: p, Key: fmt.Append(nil, "other", i), Cost: 1}
					_, _ = m.Take([]limit.Charge{other})
				}
			})
			var mu sync.Mutex
			admitted := map[string][]limittest.Admission{}
			until := time.Now().Add(400 * time.Millisecond)
			for worker := range 8 {
				asking.Go(func() {
					for i := 0; time.Now().Before(until); i++ {
						key := fmt.Sprint("k", (i+worker)%keys)
						cs := []limit.Charge{{Policy: p, Key: []byte(key), Cost: 1 + int64(i%2)}, {Policy: scarce, Key: []byte("scarce"), Cost: 1}}
						if i%3 != 0 {
							cs = cs[:1]
						}
						sent := c.Mono()
						denied, err := m.Take(cs)
						if answered := c.Mono(); err == nil && denied == limit.Admitted {
							mu.Lock()
							admitted[key] = append(admitted[key], limittest.Admission{Sent: time.Duration(sent), Answered: time.Duration(answered), Cost: cs[0].Cost})
							mu.Unlock()
						}
					}
				})
			}
			asking.Wait()
			close(stop)
			sweeping.Wait()
			for key, all := range admitted {
				if len(all) < 10 {
					t.Errorf("%s: only %d admissions", key, len(all))
				}
				if over := limittest.Excess(p, all); over > 0 {
					t.Errorf("%s: %d tokens too many in a span, among %d admissions", key, over, len(all))
				}
			}
		})
	}
}
