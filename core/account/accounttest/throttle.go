package accounttest

import (
	"fmt"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/account"
)

// TestThrottle runs the suite; newThrottle returns a throttle each time that has
// counted nothing. Throttles tell the time by a clock of their own, so the windows
// here are short, or longer than any test runs.
func TestThrottle(t *testing.T, newThrottle func(*testing.T) account.Throttle) {
	for name, test := range map[string]func(*testing.T, account.Throttle){
		"I11 attempts slow down, then stop":              testSlowDown,
		"I11 a ceiling is never passed":                  testCeiling,
		"I11 of many at once, the limit goes on":         testThrottleRace,
		"I11 what waits is not counted":                  testWaiting,
		"a window ends":                                  testWindow,
		"keys are counted apart, and cleared":            testClear,
		"one attempt is taken back":                      testRefund,
		"what was never counted can be taken back":       testRefundNothing,
		"a refund is good for one attempt and no credit": testNoCredit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newThrottle(t))
		})
	}
}

// attempt fails the test unless what must be waited lies within [least, most].
func attempt(t *testing.T, s account.Throttle, key string, limit account.Limit, least, most time.Duration) {
	t.Helper()
	after, err := s.Attempt(t.Context(), key, limit)
	if err != nil {
		t.Fatal(err)
	}
	if after < least || after > most {
		t.Fatalf("%s: wait %s, want %s to %s", key, after, least, most)
	}
}

func allowed(t *testing.T, s account.Throttle, key string, limit account.Limit) {
	t.Helper()
	attempt(t, s, key, limit, 0, 0)
}

// eventually tries until an attempt is allowed, and returns how long that took.
func eventually(t *testing.T, s account.Throttle, key string, limit account.Limit) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		after, err := s.Attempt(t.Context(), key, limit)
		if err != nil {
			t.Fatal(err)
		}
		if after == 0 {
			return time.Since(start)
		}
		if time.Since(start) > 30*time.Second {
			t.Fatalf("%s: still wait %s", key, after)
		}
		time.Sleep(min(after, 50*time.Millisecond))
	}
}

func testSlowDown(t *testing.T, s account.Throttle) {
	limit := account.Limit{Free: 2, Most: 5, Window: time.Hour, FirstDelay: 100 * time.Millisecond, Ceiling: time.Hour}
	allowed(t, s, "k", limit)
	allowed(t, s, "k", limit)
	allowed(t, s, "k", limit) // the third is allowed, and makes the fourth wait
	start := time.Now()
	for _, delay := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond} {
		eventually(t, s, "k", limit)
		if waited := time.Since(start); waited < delay-5*time.Millisecond {
			t.Errorf("allowed after %s, want %s", waited, delay)
		}
		start = time.Now()
	}
	attempt(t, s, "k", limit, 59*time.Minute, time.Hour) // that was the fifth: the rest of the window is closed
}

func testCeiling(t *testing.T, s account.Throttle) {
	limit := account.Limit{Free: 1, Window: time.Hour, FirstDelay: time.Millisecond, Ceiling: 4 * time.Millisecond}
	for range 30 {
		if waited := eventually(t, s, "k", limit); waited > 10*time.Second {
			t.Fatalf("waited %s", waited)
		}
		after, err := s.Attempt(t.Context(), "k", limit)
		if err != nil || after > limit.Ceiling {
			t.Fatalf("wait %s, %v; the ceiling is %s", after, err, limit.Ceiling)
		}
	}
}

func testThrottleRace(t *testing.T, s account.Throttle) {
	limit := account.Limit{Free: 7, Most: 7, Window: time.Hour}
	if n := race(func(int) bool {
		after, err := s.Attempt(t.Context(), "k", limit)
		if err != nil {
			t.Error(err)
		}
		return err == nil && after == 0
	}); n != 7 {
		t.Errorf("%d went on, want 7", n)
	}
}

func testWaiting(t *testing.T, s account.Throttle) {
	limit := account.Limit{Free: 1, Most: 4, Window: time.Hour, FirstDelay: 150 * time.Millisecond, Ceiling: 150 * time.Millisecond}
	allowed(t, s, "k", limit)
	allowed(t, s, "k", limit)
	for range 20 {
		attempt(t, s, "k", limit, 0, 150*time.Millisecond)
	}
	eventually(t, s, "k", limit) // had they been counted, the window were closed
}

func testWindow(t *testing.T, s account.Throttle) {
	limit := account.Limit{Free: 2, Most: 2, Window: 300 * time.Millisecond}
	for range 3 {
		start := time.Now()
		allowed(t, s, "k", limit)
		allowed(t, s, "k", limit)
		if waited := eventually(t, s, "k", limit); time.Since(start) < 290*time.Millisecond {
			t.Errorf("a new window after %s", waited)
		}
		if err := s.Clear(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
}

func testClear(t *testing.T, s account.Throttle) {
	limit := account.Limit{Free: 1, Most: 1, Window: time.Hour}
	for _, key := range []string{"a", "b", "account.Zm9v_-"} {
		allowed(t, s, key, limit)
		attempt(t, s, key, limit, 59*time.Minute, time.Hour)
	}
	for range 2 {
		if err := s.Clear(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
	}
	allowed(t, s, "b", limit)
	attempt(t, s, "a", limit, 59*time.Minute, time.Hour)
}

func testRefund(t *testing.T, s account.Throttle) {
	limit := account.Limit{Free: 2, Most: 2, Window: time.Hour}
	allowed(t, s, "k", limit)
	for range 10 { // all of whom prove who they are
		allowed(t, s, "k", limit)
		attempt(t, s, "k", limit, 59*time.Minute, time.Hour)
		if err := s.Refund(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
	allowed(t, s, "k", limit)
	attempt(t, s, "k", limit, 59*time.Minute, time.Hour)
}

func testRefundNothing(t *testing.T, s account.Throttle) {
	limit := account.Limit{Free: 1, Most: 1, Window: time.Hour}
	if err := s.Refund(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	allowed(t, s, "k", limit)
	attempt(t, s, "k", limit, 59*time.Minute, time.Hour)
}

func testNoCredit(t *testing.T, s account.Throttle) {
	limit := account.Limit{Free: 3, Most: 3, Window: time.Hour}
	allowed(t, s, "k", limit)
	for i := range 5 {
		if err := s.Refund(t.Context(), "k"); err != nil {
			t.Fatal(fmt.Sprint(i), err)
		}
	}
	for range 3 {
		allowed(t, s, "k", limit)
	}
	attempt(t, s, "k", limit, 59*time.Minute, time.Hour)
}
