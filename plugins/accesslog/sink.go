package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/plugin"
)

const (
	// bufferSize is what one buffer holds, in bytes; lines beyond it are dropped.
	bufferSize = 256 << 10
	// flushAt is when a buffer asks to be written before its time.
	flushAt = bufferSize / 4
	// flushEvery is how long a line waits at most while the output keeps up.
	flushEvery = 100 * time.Millisecond
	// tendEvery is how often the output looks for a renamed file.
	tendEvery = time.Second
	// closePatience is how long Close waits for an output that hangs.
	closePatience = 2 * time.Second
)

// sink is one place that is logged to, shared by all routes and snapshots that
// name it. Exchanges fill its buffers; one goroutine, which Close stops and
// awaits, opens the place and writes them. The first line starts it: a snapshot
// that is never put in force leaves no trace.
type sink struct {
	open  func() (output, error)
	clock clock.Clock
	log   zerolog.Logger
	once  sync.Once // start, or Close if no line came

	// buffers are picked by the stripe of the exchange. There are more than
	// processors, so an exchange nearly always finds one that nobody holds.
	buffers []buffer
	mask    uint32
	// offset is wall time less monotonic time, in nanoseconds. The goroutine
	// writes it every flushEvery, so that a line needs no clock of its own and
	// follows when the wall clock is set.
	offset atomic.Int64

	written, full, failed *meter.Counter

	wake chan struct{} // holds one: a buffer is filling up
	stop chan struct{}
	done chan struct{}

	// What follows belongs to the goroutine, and to Close after it.
	out     output // nil until it could be opened
	spare   []byte // takes the place of the buffer that is being written
	torn    bool   // the output ends within a line
	failing bool   // the last write failed, and that was reported
	adrift  bool   // the output could not be tended, and that was reported
	tended  int64  // when the output was last tended
	closing error  // of closing the output
}

// buffer collects lines. Its lock is held while one line is encoded, or while
// the goroutine takes the bytes away: about a microsecond, and never while writing.
type buffer struct {
	mu    sync.Mutex
	bytes []byte
	lines int
	_     [80]byte // no two locks on one cache line
}

// keepSink returns the sink of the place to, which every route with the same
// place shares.
func keepSink(to string, d *plugin.Deps) (*sink, func(), error) {
	place, err := identify(to)
	if err != nil {
		return nil, nil, err
	}
	if err := probe(place); err != nil {
		return nil, nil, err
	}
	return plugin.Keep(d.Keeper, "access_log", place, func() (*sink, error) {
		return newSink(place, func() (output, error) { return openOutput(place) }, d), nil
	})
}

// newSink returns a sink that writes to what open opens.
func newSink(place string, open func() (output, error), d *plugin.Deps) *sink {
	const lost = "Access log lines that were lost: full, the place they go to could not keep up; failed, writing there failed."
	to := meter.Label{Name: "to", Value: place}
	return &sink{
		open: open, clock: d.Clock, log: d.Log.With().Str("access_log", place).Logger(),
		written: d.Meter.Counter("gateway_access_log_lines_total", "Access log lines written.", to),
		full:    d.Meter.Counter("gateway_access_log_dropped_total", lost, to, meter.Label{Name: "reason", Value: "full"}),
		failed:  d.Meter.Counter("gateway_access_log_dropped_total", lost, to, meter.Label{Name: "reason", Value: "failed"}),
		wake:    make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// start makes the buffers and starts the goroutine.
func (s *sink) start() {
	n := 1
	for n < 2*runtime.GOMAXPROCS(0) && n < 64 {
		n *= 2
	}
	s.buffers, s.mask = make([]buffer, n), uint32(n-1)
	for i := range s.buffers {
		s.buffers[i].bytes = make([]byte, 0, bufferSize)
	}
	s.spare = make([]byte, 0, bufferSize)
	s.setOffset()
	go s.run()
}

func (s *sink) setOffset() { s.offset.Store(s.clock.Now().UnixNano() - s.clock.Mono()) }

// begin returns a locked buffer with room for longest bytes, or nil after it has
// counted a dropped line. The caller passes it to end.
func (s *sink) begin(stripe uint32, longest int) *buffer {
	s.once.Do(s.start)
	// The buffer of the stripe, or the next one that nobody holds and that has
	// room: a goroutine that lost its processor here holds up nobody else.
	for i := range uint32(len(s.buffers)) {
		b := &s.buffers[(stripe+i)&s.mask]
		if !b.mu.TryLock() {
			continue
		}
		if len(b.bytes)+longest <= bufferSize {
			return b
		}
		b.mu.Unlock()
	}
	b := &s.buffers[stripe&s.mask]
	b.mu.Lock()
	if len(b.bytes)+longest <= bufferSize {
		return b
	}
	b.mu.Unlock()
	s.full.Add(stripe, 1)
	return nil
}

// end unlocks b and has it written soon if it is filling up.
func (s *sink) end(b *buffer) {
	filling := len(b.bytes) >= flushAt
	b.mu.Unlock()
	if filling {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// run writes what the buffers hold, until Close.
func (s *sink) run() {
	defer close(s.done)
	timer := s.clock.NewTimer(flushEvery)
	defer timer.Stop()
	s.tend()
	for {
		select {
		case <-s.wake:
			s.flush()
		case <-timer.C():
			s.setOffset()
			s.flush()
			if s.clock.Mono()-s.tended >= int64(tendEvery) {
				s.tend()
			}
			timer.Reset(flushEvery)
		case <-s.stop:
			s.flush()
			if s.out != nil {
				s.closing = s.out.Close()
			}
			return
		}
	}
}

// flush writes what each buffer holds.
func (s *sink) flush() {
	for i := range s.buffers {
		b := &s.buffers[i]
		b.mu.Lock()
		full, lines := b.bytes, b.lines
		if lines > 0 {
			b.bytes, b.lines = s.spare[:0], 0
		}
		b.mu.Unlock()
		if lines > 0 {
			s.write(full, lines)
			s.spare = full
		}
	}
}

// write hands lines to the output. What can't be written is counted and gone:
// keeping it would only lose the lines of later.
func (s *sink) write(p []byte, lines int) {
	if s.out == nil {
		s.failed.Add(0, uint64(lines)) // and tend has told why
		return
	}
	if s.torn {
		// The rest of a line went missing; let the next one begin on its own.
		n, err := s.out.Write([]byte{'\n'})
		s.torn = n == 0
		if err != nil {
			s.lose(lines, err)
			return
		}
	}
	n, err := s.out.Write(p)
	if err == nil {
		s.written.Add(0, uint64(lines))
		if s.failing {
			s.failing = false
			s.log.Info().Msg("the access log is written again")
		}
		return
	}
	whole := bytes.Count(p[:n], []byte{'\n'})
	s.torn = n > 0 && p[n-1] != '\n'
	s.written.Add(0, uint64(whole))
	s.lose(lines-whole, err)
}

func (s *sink) lose(lines int, err error) {
	s.failed.Add(0, uint64(lines))
	if !s.failing { // the first of a row of errors says it all
		s.failing = true
		s.log.Error().Err(err).Msg("writing the access log failed; its lines are lost until that works again")
	}
}

// tend opens the output if it is not open yet, and lets it follow its path.
func (s *sink) tend() {
	s.tended = s.clock.Mono()
	var err error
	if s.out == nil {
		s.out, err = s.open()
	} else {
		err = s.out.Tend()
	}
	if err != nil && !s.adrift {
		s.log.Error().Err(err).Msg("the access log can't be opened at its path; that is tried again every second")
	}
	s.adrift = err != nil
}

// errStuck is met when an output takes no bytes.
var errStuck = errors.New("closing the access log: it takes no more lines; what was not written is lost")

// Close writes what is left, closes the output, and waits for that, but not for
// an output that hangs: a reader that stopped reading must not keep the gateway
// from stopping. No line may be logged any more.
func (s *sink) Close() error {
	s.once.Do(func() { close(s.done) })
	close(s.stop)
	timer := s.clock.NewTimer(closePatience)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C():
		return errStuck
	}
	if s.closing != nil {
		return fmt.Errorf("closing the access log: %w", s.closing)
	}
	return nil
}
