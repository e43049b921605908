package background

import (
	"os"
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

// TestWorkStandsBack on a thread that nobody else runs on later.
func TestWorkStandsBack(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := nice(t)
	for range 10 {
		Do(func() {
			if got := nice(t); got != max(before, niceness) {
				t.Errorf("niceness %d, want %d", got, niceness)
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

// TestPanicsAreTheCallers, who has a recover for each request.
func TestPanicsAreTheCallers(t *testing.T) {
	t.Parallel()
	defer func() {
		if p := recover(); p != "broken" {
			t.Errorf("recovered %v", p)
		}
	}()
	Do(func() { panic("broken") })
}

// TestLongWorkTakesNoPlaceOfRequests, and gives back what it got, a panic or not.
func TestLongWorkTakesNoPlaceOfRequests(t *testing.T) {
	for _, set := range []string{"", "3"} {
		t.Setenv("GOMAXPROCS", set)
		if set == "" {
			_ = os.Unsetenv("GOMAXPROCS") // put back by Setenv's cleanup
			runtime.SetDefaultGOMAXPROCS()
		} else {
			runtime.GOMAXPROCS(3)
		}
		before := runtime.GOMAXPROCS(0)
		DoLong(func() {
			if got := runtime.GOMAXPROCS(0); got != before+1 {
				t.Errorf("%d places meanwhile, want %d", got, before+1)
			}
		})
		func() {
			defer func() { _ = recover() }()
			DoLong(func() { panic("broken") })
		}()
		if got := runtime.GOMAXPROCS(0); got != before {
			t.Errorf("%d places afterwards, want %d", got, before)
		}
	}
	runtime.SetDefaultGOMAXPROCS()
}
