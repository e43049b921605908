// Package background does heavy work beside requests: a flood of logins, or a reload of
// ten thousand routes, must leave the proxied traffic its cores. Two schedulers share
// these out. The kernel ranks threads, so the work runs on a thread of low priority. The
// Go scheduler ranks nothing: it lets a goroutine run for 10 ms in one of the few places
// (GOMAXPROCS) before another has its turn there, whatever the kernel thinks of its
// thread. So the work gets a place of its own too.
package background

import (
	"os"
	"runtime"
	"sync"
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

// linger is how long places stay after their use: to change their number stops the
// world, for some 50 µs, and work of this kind comes in floods.
const linger = time.Second

// Places are those of the process that heavy work has taken. As they change the number
// that the Go scheduler has, a process has one Places. It may be used concurrently.
type Places struct {
	mu    sync.Mutex // taken twice for each piece of work
	busy  int        // pieces under way
	extra int        // places that were added
	given int        // those before the first
	lower *time.Timer
}

// New returns one that has taken no place yet.
func New() *Places { return &Places{} }

// Do calls f in a place of its own on a thread of lower priority, and waits for it. The
// thread ends with its goroutine because nobody unlocks it, so its priority is nobody
// else's; a goroutine that f starts has none of it. A panic of f is one of the caller's.
func (p *Places) Do(f func()) {
	p.take()
	defer p.leave()
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

// take adds a place unless there is one left from before.
func (p *Places) take() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy++
	if p.lower != nil {
		p.lower.Stop()
		p.lower = nil
	}
	if p.busy <= p.extra {
		return
	}
	if p.extra == 0 {
		p.given = runtime.GOMAXPROCS(0)
	}
	p.extra = p.busy
	runtime.GOMAXPROCS(p.given + p.extra)
}

// leave has the places go after a while without work.
func (p *Places) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy--; p.busy == 0 {
		p.lower = time.AfterFunc(linger, p.giveBack)
	}
}

// giveBack gives all places back, unless work came in between.
func (p *Places) giveBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy > 0 || p.extra == 0 {
		return
	}
	p.extra, p.lower = 0, nil
	if os.Getenv("GOMAXPROCS") != "" {
		runtime.GOMAXPROCS(p.given)
		return
	}
	runtime.SetDefaultGOMAXPROCS() // which goes on following the limits of the container
}

// Close gives the places back at once. No work may be under way, and none come.
func (p *Places) Close() {
	p.mu.Lock()
	if p.lower != nil {
		p.lower.Stop()
	}
	p.mu.Unlock()
	p.giveBack()
}
