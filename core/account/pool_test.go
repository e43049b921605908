package account

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// nice is that of the thread that asks.
func nice(t *testing.T) int32 {
	t.Helper()
	a, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a.Nice
}

// TestI12_HashingStandsBack on a thread that nobody else runs on later.
func TestI12_HashingStandsBack(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := nice(t)
	for range 10 {
		yielding(func() {
			if got := nice(t); got != max(before, hashNice) {
				t.Errorf("niceness %d, want %d", got, hashNice)
			}
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			if got := nice(t); got != before {
				t.Errorf("another goroutine has niceness %d", got)
			}
		}()
		<-done
	}
	if got := nice(t); got != before {
		t.Errorf("the caller has niceness %d", got)
	}
}

// TestPanicsOfHashingAreTheCallers, who has a recover for each request.
func TestPanicsOfHashingAreTheCallers(t *testing.T) {
	t.Parallel()
	defer func() {
		if p := recover(); p != "broken" {
			t.Errorf("recovered %v", p)
		}
	}()
	yielding(func() { panic("broken") })
}
