package limit_test

import (
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/limit/limittest"
)

// memory returns a store with a clock that stands.
func memory(t testing.TB, o limit.MemoryOptions) (*limit.Memory, *clock.Fake) {
	c := clock.NewFake(time.Unix(0, 0))
	c.Advance(time.Hour + 123456*time.Nanosecond)
	m := limit.NewMemory(c, o)
	t.Cleanup(func() { _ = m.Close() })
	return m, c
}

func TestMemory(t *testing.T) {
	t.Parallel()
	limittest.TestStore(t, func(t *testing.T) limittest.Fixture {
		m, c := memory(t, limit.MemoryOptions{})
		return limittest.Fixture{Store: m, Advance: c.Advance, Stands: true, Exact: true}
	})
}

// TestMemoryOfTheMachinesClock holds the suite to its word for stores whose time is
// nobody's to stop.
func TestMemoryOfTheMachinesClock(t *testing.T) {
	t.Parallel()
	limittest.TestStore(t, func(t *testing.T) limittest.Fixture {
		m := limit.NewMemory(clock.Real(), limit.MemoryOptions{})
		t.Cleanup(func() { _ = m.Close() })
		return limittest.Fixture{Store: m, Advance: time.Sleep, Exact: true}
	})
}
