package clock_test

import (
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

func TestRealClockGoesForward(t *testing.T) {
	t.Parallel()
	c := clock.Real()
	before, day := c.Mono(), time.Now()
	timer := c.NewTimer(time.Hour)
	if !timer.Stop() {
		t.Error("an armed timer was not stopped")
	}
	timer.Reset(time.Millisecond)
	<-timer.C()
	if passed := c.Mono() - before; passed < int64(time.Millisecond) {
		t.Errorf("%d ns passed on Mono, want at least 1 ms", passed)
	}
	if c.Now().Before(day) {
		t.Errorf("Now is %s, before %s", c.Now(), day)
	}
}

func TestFakeClockStandsUntilAdvanced(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := clock.NewFake(start)
	timer := c.NewTimer(time.Second)
	if c.Armed() != 1 || !c.Now().Equal(start) || c.Mono() != 0 {
		t.Fatalf("armed %d, now %s, mono %d", c.Armed(), c.Now(), c.Mono())
	}
	c.Advance(time.Second - 1)
	select {
	case <-timer.C():
		t.Fatal("fired a nanosecond early")
	default:
	}
	c.Advance(1)
	if at := <-timer.C(); !at.Equal(start.Add(time.Second)) {
		t.Errorf("fired at %s", at)
	}
	if c.Mono() != int64(time.Second) || c.Armed() != 0 {
		t.Errorf("mono %d, armed %d", c.Mono(), c.Armed())
	}
}

func TestFakeTimerStopAndReset(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Unix(0, 0))
	timer := c.NewTimer(time.Second)
	c.Advance(time.Second)
	if timer.Stop() {
		t.Error("Stop says that a fired timer was armed")
	}
	select {
	case <-timer.C():
		t.Error("something stale was left after Stop")
	default:
	}
	timer.Reset(0)
	<-timer.C()
	timer.Reset(time.Minute)
	if !timer.Stop() {
		t.Error("Stop says that an armed timer was not")
	}
}
