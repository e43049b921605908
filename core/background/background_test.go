package background

import (
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
	p := New()
	defer p.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := nice(t)
	for range 10 {
		p.Do(func() {
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
	places := New()
	defer places.Close()
	defer func() {
		if p := recover(); p != "broken" {
			t.Errorf("recovered %v", p)
		}
		if places.busy != 0 {
			t.Error("its place is still taken")
		}
	}()
	places.Do(func() { panic("broken") })
}

// TestWorkTakesNoPlaceOfRequests, and gives back what it got, a while after the last.
func TestWorkTakesNoPlaceOfRequests(t *testing.T) {
	for _, set := range []string{"", "3"} {
		t.Setenv("GOMAXPROCS", set)
		if set == "" {
			_ = os.Unsetenv("GOMAXPROCS") // put back by Setenv's cleanup
			runtime.SetDefaultGOMAXPROCS()
		} else {
			runtime.GOMAXPROCS(3)
		}
		before := runtime.GOMAXPROCS(0)
		synctest.Test(t, func(t *testing.T) { worksThrice(t, before) })
	}
	runtime.SetDefaultGOMAXPROCS()
}

func worksThrice(t *testing.T, before int) {
	p := New()
	wants := func(when string, want int) {
		t.Helper()
		if got := runtime.GOMAXPROCS(0); got != want {
			t.Errorf("%s: %d places, want %d", when, got, want)
		}
	}
	p.Do(func() { wants("alone", before+1) })
	var both, ended sync.WaitGroup
	both.Add(2)
	for range 2 {
		ended.Go(func() {
			p.Do(func() {
				both.Done()
				both.Wait()
				wants("two at once", before+2)
			})
		})
	}
	ended.Wait()
	time.Sleep(linger - time.Millisecond)
	p.Do(func() { wants("soon after", before+2) })
	time.Sleep(linger - time.Millisecond)
	wants("still", before+2)
	time.Sleep(2 * time.Millisecond)
	wants("a while after", before)
	p.Do(func() { wants("again", before+1) })
	p.Close()
	wants("closed", before)
}
