package upstream

import (
	"cmp"
	"context"
	"crypto/rand"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
)

// Instances of the gateway tell each other of their breakers by records in a store, one for each
// service. A record has an epoch, and whoever writes names the one that its news follows: of
// two who write at the same time one is refused, and takes over what the other says.
//
// Who opens or closes a breaker by what it has seen writes so. The others do the same, but for
// one whose own window says that the service is well: it has enough outcomes, and less than half the
// share that would open it. An instance with a bad network card must not take the fleet down.
//
// When an open breaker's time is over, whoever has a request first writes HALF_OPEN: that is a
// lease. Its holder alone probes, and renews it as long as probes are under way or go well,
// but not beyond the longest open time: probes that hang must not keep others from probing. To the
// others the breaker stays open until the lease ends. Whose lease was taken over stops probing.
//
// While the store is away each instance is on its own. What could not be written or read is
// tried again and again. No record keeps a breaker from probing for longer than the longest
// open time, whatever it says.

// BreakerRecord is what instances tell each other of a breaker.
type BreakerRecord struct {
	State       State
	Epoch       uint64        // 0: there is no record
	Failures    uint64        // in the window of whoever opened it
	LastFailure time.Time     // zero: unknown
	For         time.Duration // of OPEN: until requests may probe; of HALF_OPEN: until the lease ends; not below 0
	By          string        // whose record it is, at most 40 bytes; what stands there may be any text
}

// BreakerStore is where instances tell each other. It may be used concurrently.
type BreakerStore interface {
	// Write puts r in the place of the record with that epoch, or of none, under an epoch
	// of its own. It returns what stands there afterwards, and whether that is r.
	Write(ctx context.Context, service string, after uint64, r BreakerRecord) (BreakerRecord, bool, error)
	// Read returns the records of services. What makes no sense is left out, as what is not
	// there. With an error it returns those that it could read.
	Read(ctx context.Context, services []string) (map[string]BreakerRecord, error)
	// Follow tells, until ctx is done, of services whose records were written; nil: of any,
	// for something may have been missed. told must not wait.
	Follow(ctx context.Context, told func(services []string))
}

const (
	shareWithin = 500 * time.Millisecond // that an answer of the store may take
	shareTries  = 3                      // of one record, against others who write
	// shareAgain is when what failed is tried again, at first; twice as long each time, up to
	// shareSeldom. A store that was slow once tells nobody that it is back.
	shareAgain  = 100 * time.Millisecond
	shareSeldom = 4 * time.Second
	leastLease  = time.Second
)

// sharing carries news between breakers and the store. Its goroutines are the registry's: they
// start with the first breaker that is shared, and close ends them.
type sharing struct {
	store BreakerStore
	clock clock.Clock
	log   zerolog.Logger

	mu       sync.Mutex // guards all below; taken for transitions and probes, never for a request that goes well
	breakers map[string][]*Breaker
	heard    map[string]int64   // services whose records are to be read, and from when on, monotonic ns; 0: at once
	spoken   map[*Breaker]int64 // breakers that are to be asked for news, and from when on
	all      bool               // all records are to be read, and all that waits is due

	bell    chan struct{}
	stop    context.CancelFunc
	stopped sync.WaitGroup
	away    bool          // of the courier alone
	pause   time.Duration // until what failed is tried again; 0: nothing failed last. Of the courier alone
}

func newSharing(g Guarding) *sharing {
	ctx, stop := context.WithCancel(context.Background())
	s := &sharing{
		store: g.Store, clock: g.Clock, log: g.Log, stop: stop, bell: make(chan struct{}, 1),
		breakers: map[string][]*Breaker{}, heard: map[string]int64{}, spoken: map[*Breaker]int64{},
	}
	s.stopped.Go(func() { s.store.Follow(ctx, s.told) })
	s.stopped.Go(func() { s.carry(ctx) })
	return s
}

func (s *sharing) close() {
	s.stop()
	s.stopped.Wait()
}

// add shares b from now on, and reads what is known of its service.
func (s *sharing) add(b *Breaker) {
	b.mu.Lock()
	b.shared.by = rand.Text()
	b.mu.Unlock()
	b.sharing.Store(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.breakers[b.service] = append(s.breakers[b.service], b)
	s.heard[b.service] = 0
	s.ring()
}

func (s *sharing) remove(b *Breaker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var others []*Breaker
	for _, other := range s.breakers[b.service] {
		if other != b {
			others = append(others, other)
		}
	}
	if s.breakers[b.service] = others; len(others) == 0 {
		delete(s.breakers, b.service)
		delete(s.heard, b.service)
	}
	delete(s.spoken, b)
}

// ring wakes the courier.
func (s *sharing) ring() {
	select {
	case s.bell <- struct{}{}:
	default: // it is being woken
	}
}

// speak has the courier look at what b has to tell, or to ask for, at once.
func (s *sharing) speak(b *Breaker) {
	s.later(b, 0)
	s.ring()
}

// later has the courier look at b from when on, or sooner if it does so anyway.
func (s *sharing) later(b *Breaker, when int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.breakers[b.service], b) {
		return // it was removed meanwhile
	}
	if before, ok := s.spoken[b]; !ok || when < before {
		s.spoken[b] = when
	}
}

// hear has the courier read the records of services from when on, of those that there are.
func (s *sharing) hear(services []string, when int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, service := range services {
		if before, ok := s.heard[service]; s.breakers[service] != nil && (!ok || when < before) {
			s.heard[service] = when
		}
	}
}

// told is called by the store.
func (s *sharing) told(services []string) {
	if services == nil {
		s.mu.Lock()
		s.all = true
		s.mu.Unlock()
	}
	s.hear(services, 0)
	s.ring()
}

// carry is the courier. It does one thing after the other, until ctx is done.
func (s *sharing) carry(ctx context.Context) {
	timer := s.clock.NewTimer(shareSeldom)
	defer timer.Stop()
	for {
		if next, ok := s.next(); ok {
			timer.Reset(time.Duration(next - s.clock.Mono()))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-s.bell:
		case <-timer.C():
		}
		s.round(ctx)
	}
}

// next is when something is due; false if nothing waits.
func (s *sharing) next() (next int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next = math.MaxInt64
	for _, when := range s.heard {
		next = min(next, when)
	}
	for _, when := range s.spoken {
		next = min(next, when)
	}
	return next, next < math.MaxInt64
}

// take returns what is due: services whose records are to be read, and who is to be asked.
func (s *sharing) take() (heard []string, spoken []*Breaker) {
	now := s.clock.Mono()
	s.mu.Lock()
	defer s.mu.Unlock()
	for service := range s.breakers {
		if when, ok := s.heard[service]; s.all || ok && when <= now {
			heard = append(heard, service)
			delete(s.heard, service)
		}
	}
	for b, when := range s.spoken {
		if s.all || when <= now {
			spoken = append(spoken, b)
			delete(s.spoken, b)
		}
	}
	s.all = false
	return heard, spoken
}

// round does what is due. What fails is put off.
func (s *sharing) round(ctx context.Context) {
	heard, spoken := s.take()
	unread, hangs, failure := s.listen(ctx, heard)
	var unsaid []*Breaker
	for _, b := range spoken {
		if hangs { // nobody waits for it once for each
			b.alone(s.clock.Mono())
			unsaid = append(unsaid, b)
			continue
		}
		start := s.clock.Mono()
		settled, err := s.say(ctx, b)
		if err != nil {
			now := s.clock.Mono()
			b.alone(now)
			failure, hangs = cmp.Or(failure, err), now-start >= int64(shareWithin)
		}
		if !settled {
			unsaid = append(unsaid, b)
		} else if when, ok := b.renewal(); ok {
			s.later(b, when)
		}
	}
	again := shareAgain
	if failure != nil {
		again = min(max(2*s.pause, shareAgain), shareSeldom)
		s.pause = again
	} else if len(heard)+len(spoken) > 0 {
		s.pause = 0
	}
	if len(heard)+len(spoken) > 0 {
		s.see(ctx, failure)
	}
	when := s.clock.Mono() + int64(again)
	s.hear(unread, when)
	for _, b := range unsaid {
		s.later(b, when)
	}
}

// listen has breakers follow the records of services. If it returns those that are to be read
// again, what could be read is followed all the same; hangs says that the store gave no answer.
func (s *sharing) listen(ctx context.Context, services []string) (unread []string, hangs bool, failure error) {
	if len(services) == 0 {
		return nil, false, nil
	}
	start := s.clock.Mono()
	short, cancel := context.WithTimeout(ctx, shareWithin)
	defer cancel()
	records, err := s.store.Read(short, services)
	now := s.clock.Mono()
	for service, r := range records {
		for _, b := range s.of(service) {
			b.follow(r, now)
		}
	}
	if err != nil {
		return services, now-start >= int64(shareWithin), err
	}
	return nil, false, nil
}

func (s *sharing) of(service string) []*Breaker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.breakers[service]
}

// say writes what b has to tell. What is not settled is to be said again: the store failed, or
// others were quicker each time.
func (s *sharing) say(ctx context.Context, b *Breaker) (settled bool, err error) {
	for range shareTries {
		after, r, ok := b.news(s.clock.Mono(), s.clock.Now())
		if !ok {
			return true, nil
		}
		short, cancel := context.WithTimeout(ctx, shareWithin)
		stands, written, err := s.store.Write(short, b.service, after, r)
		cancel()
		if err != nil {
			return false, err
		}
		if b.said(r, stands, written, s.clock.Mono()) {
			return true, nil
		}
	}
	return false, nil
}

// see notes whether the store did all that it was asked in a round, and tells of a change
// once: a store of which a part fails shares nothing reliably.
func (s *sharing) see(ctx context.Context, err error) {
	if ctx.Err() != nil || s.away == (err != nil) {
		return
	}
	if s.away = err != nil; s.away {
		s.log.Warn().Err(err).Msg("circuit breakers are each instance's own")
		return
	}
	s.log.Info().Msg("circuit breakers are shared between instances")
}
