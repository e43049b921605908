package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readSize = 64 << 10 // bytes of one read
	// tick is the shortest sleep: requests due within it leave together. It
	// bounds the number of wake-ups, and counts in the latencies like all else.
	tick = 100 * time.Microsecond
	// lookRound is how often timeouts are looked for and lost connections made again.
	lookRound = 50 * time.Millisecond
	// timerEvent stands for the timer where connections have their index.
	timerEvent = -1
)

// loop is one thread of the generator with its connections and every n-th
// request of the schedule. Nothing in it is shared while it runs.
type loop struct {
	plan   *plan
	result *result
	start  time.Time // the schedule's zero
	next   int64     // the next request to send
	step   int64     // between two of its requests
	end    int64     // the first that is no longer in the schedule

	conns []connection
	free  []int32 // idle connections, the longest idle first; some may have died
	busy  int     // connections with a request under way
	buf   []byte

	epoll, timer int
	armed        time.Duration // when the timer fires; in the past: not armed
	looked       time.Duration // when timeouts were looked for last
}

// newLoop makes the loop of thread k; close releases what it holds.
func newLoop(p *plan, k int) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("timer: %w", err)
	}
	l := &loop{
		plan: p, result: newResult(), start: time.Now(),
		next: int64(k), step: int64(p.threads), end: p.slots(),
		conns: make([]connection, p.share(k)), buf: make([]byte, readSize),
		epoll: epoll, timer: timer,
	}
	for i := range l.conns {
		l.conns[i].answer = answer{compare: true, status: p.status, want: p.body, noBody: p.noBody}
	}
	err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, timer, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: timerEvent})
	if err != nil {
		l.close()
		return nil, fmt.Errorf("watch the timer: %w", err)
	}
	return l, nil
}

func (l *loop) close() {
	for i := range l.conns {
		l.hangUp(int32(i))
	}
	_ = unix.Close(l.timer)
	_ = unix.Close(l.epoll)
}

// elapsed is the time since the start of the schedule.
func (l *loop) elapsed() time.Duration { return time.Since(l.start) }

// open connects everything, before the schedule starts; it fails as soon as one
// connection does.
func (l *loop) open() error {
	for i := range l.conns {
		l.connect(int32(i))
	}
	for len(l.free) < len(l.conns) {
		if l.result.failed[failConnect] > 0 {
			return errors.New("connect: " + l.result.examples[failConnect])
		}
		if l.elapsed() > l.plan.timeout {
			return fmt.Errorf("connect: %d of %d connections within %v", len(l.free), len(l.conns), l.plan.timeout)
		}
		if err := l.wait(); err != nil {
			return err
		}
	}
	return nil
}

// run sends the schedule, beginning at start, and returns when every request has
// an answer or a failure, or ctx ends.
func (l *loop) run(ctx context.Context, start time.Time) error {
	l.start, l.looked, l.armed = start, 0, 0 // times were counted from another start so far
	for i := range l.conns {
		l.conns[i].since = 0
	}
	for (l.next < l.end || l.busy > 0) && l.elapsed() < l.deadline() {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.sendDue()
		now := l.elapsed()
		if now-l.looked >= lookRound {
			l.lookAround(now)
		}
		if err := l.wait(); err != nil {
			return err
		}
		l.result.held = max(l.result.held, l.elapsed()-now-lookRound)
	}
	l.giveUp()
	return nil
}

// deadline is when a run ends at the latest.
func (l *loop) deadline() time.Duration {
	return l.plan.warmup + l.plan.duration + l.plan.timeout
}

// sendDue sends what is due while there are connections for it.
func (l *loop) sendDue() {
	for now := l.elapsed(); l.next < l.end && l.plan.due(l.next) <= now; l.next += l.step {
		i, ok := l.take()
		if !ok {
			return
		}
		l.send(i, l.next)
	}
}

// take returns the connection that has been idle longest.
func (l *loop) take() (int32, bool) {
	for len(l.free) > 0 {
		i := l.free[0]
		l.free = l.free[1:]
		if l.conns[i].phase == idle {
			return i, true
		}
	}
	return 0, false
}

// wait sleeps until something happens or the next request is due, and handles
// what has happened.
func (l *loop) wait() error {
	if len(l.free) > 0 && l.next < l.end {
		if err := l.arm(l.plan.due(l.next)); err != nil {
			return err
		}
	}
	var events [256]unix.EpollEvent
	n, err := unix.EpollWait(l.epoll, events[:], int(lookRound/time.Millisecond))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("epoll: %w", err)
	}
	for _, e := range events[:max(n, 0)] {
		if e.Fd != timerEvent {
			l.handle(e.Fd, e.Events)
		}
	}
	return nil
}

// arm sets the timer for a time since the start, unless it fires before that
// anyway.
func (l *loop) arm(at time.Duration) error {
	now := l.elapsed()
	at = max(at, now+tick)
	if l.armed > now && l.armed <= at {
		return nil
	}
	l.armed = at
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at - now))}
	if err := unix.TimerfdSettime(l.timer, 0, &spec, nil); err != nil {
		return fmt.Errorf("set the timer: %w", err)
	}
	return nil
}

func (l *loop) handle(i int32, events uint32) {
	switch c := &l.conns[i]; c.phase {
	case connecting:
		l.connected(i)
	case idle:
		l.disturbed(i)
	case busy:
		if events&unix.EPOLLOUT != 0 {
			l.write(i)
		}
		if c.phase == busy && events&^uint32(unix.EPOLLOUT) != 0 {
			l.read(i)
		}
	case down: // an event of the socket that was just closed
	}
}

// lookAround ends what takes too long and connects what was lost.
func (l *loop) lookAround(now time.Duration) {
	l.looked = now
	for i := range l.conns {
		c := &l.conns[i]
		over := now-c.since > l.plan.timeout
		switch {
		case c.phase == busy && over:
			l.lose(int32(i), failTimeout, fmt.Errorf("no answer within %v, %d bytes of it", l.plan.timeout, c.answer.received))
		case c.phase == connecting && over:
			l.lose(int32(i), failConnect, fmt.Errorf("no connection within %v", l.plan.timeout))
		}
		if c.phase == down {
			l.connect(int32(i))
		}
	}
}

// giveUp counts what has no answer at the end of the run.
func (l *loop) giveUp() {
	for i := range l.conns {
		if l.conns[i].phase == busy {
			l.lose(int32(i), failTimeout, errors.New("no answer before the run ended"))
		}
	}
	for ; l.next < l.end; l.next += l.step {
		l.result.fail(failUnsent, l.elapsed(), "no connection was free before the run ended")
		if l.plan.recorded(l.next) {
			note(l.result.latency, l.elapsed()-l.plan.due(l.next))
		}
	}
}

// carryOut runs a plan on all its threads and returns what they saw together.
func carryOut(ctx context.Context, p *plan) (*result, error) {
	loops := make([]*loop, 0, p.threads)
	defer func() {
		for _, l := range loops {
			l.close()
		}
	}()
	for k := range p.threads {
		l, err := newLoop(p, k)
		if err != nil {
			return nil, err
		}
		loops = append(loops, l)
		if err := l.open(); err != nil {
			return nil, err
		}
	}
	errs := make([]error, len(loops))
	start := time.Now()
	var running sync.WaitGroup
	for k, l := range loops {
		running.Go(func() {
			runtime.LockOSThread() // no other goroutine may hold up the schedule
			defer runtime.UnlockOSThread()
			errs[k] = l.run(ctx, start)
		})
	}
	running.Wait()
	total := newResult()
	total.began = start
	for _, l := range loops {
		total.add(l.result)
	}
	return total, errors.Join(errs...)
}
