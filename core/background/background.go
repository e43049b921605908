// Package background does heavy work beside requests, on threads of the kernel that
// stand back behind those that serve: a flood of logins, or a reload of ten thousand
// routes, must leave the proxied traffic its cores. What a goroutine does cannot be
// ranked within the Go scheduler, but a thread can by the kernel's.
package background

import (
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// How far the work stands back: it gets a tenth of a core that is contended, and no more
// than slice at a time, where the kernel would let it finish 3 ms before it hands the
// core to a request (Linux 6.12; older ones know niceness alone). Much less would do harm:
// a thread that hardly ever runs keeps the garbage collector waiting, and with it all
// requests.
const (
	niceness = 10
	slice    = 100 * time.Microsecond
)

// Do calls f on a thread of lower priority, and waits for it. The thread ends with its
// goroutine because nobody unlocks it, so its priority is nobody else's; a goroutine that
// f starts has none of it. A panic of f is one of the caller's. Do may be called
// concurrently.
func Do(f func()) {
	var failed any
	done := make(chan struct{})
	go func() { // awaited below
		defer close(done)
		defer func() { failed = recover() }()
		runtime.LockOSThread()
		// Where a sandbox forbids it, the work is done all the same, and requests share
		// the cores with it as equals.
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_NORMAL, Nice: niceness, Runtime: uint64(slice)}, 0)
		f()
	}()
	<-done
	if failed != nil {
		panic(failed)
	}
}

// DoLong is Do for work of many milliseconds of a core. The Go scheduler lets a goroutine
// run for 10 ms before another has its turn, so such work would take one of the few
// places (GOMAXPROCS) from the requests that wait for it, whatever the kernel thinks of its
// thread. It gets a place more meanwhile, and the kernel ranks the threads. Measured
// with a reload of 10,000 routes under 2,000 requests a second on two cores: p99 5-7 ms,
// against 8-15 ms without. Changing the number stops the world for some 50 µs, twice.
// Callers take turns.
func DoLong(f func()) {
	places := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(places + 1)
	defer func() {
		if os.Getenv("GOMAXPROCS") != "" {
			runtime.GOMAXPROCS(places)
			return
		}
		runtime.SetDefaultGOMAXPROCS() // which goes on following the limits of the container
	}()
	Do(f)
}
