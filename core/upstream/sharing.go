package upstream

import (
	"context"
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
// lease. Its holder alone probes, and renews it as long as its probes go well; to the others
// the breaker stays open until the lease ends. Whose lease was taken over stops probing.
//
// While the store is away each instance is on its own, and tells what it has to tell when
// the store is back. No record keeps a breaker from probing for longer than the longest
// open time, whatever it says.

// BreakerRecord is what instances tell each other of a breaker.
type BreakerRecord struct {
	State       State
	Epoch       uint64        // 0: there is no record
	Failures    uint64        // in the window of whoever opened it
	LastFailure time.Time     // zero: unknown
	For         time.Duration // of OPEN: until requests may probe; of HALF_OPEN: until the lease ends; not below 0
}

// BreakerStore is where instances tell each other. It may be used concurrently.
type BreakerStore interface {
	// Write puts r in the place of the record with that epoch, or of none, under an epoch
	// of its own. It returns what stands there afterwards, and whether that is r.
	Write(ctx context.Context, service string, after uint64, r BreakerRecord) (BreakerRecord, bool, error)
	// Read returns the records of services. What makes no sense is left out, as what is not
	// there.
	Read(ctx context.Context, services []string) (map[string]BreakerRecord, error)
	// Follow tells, until ctx is done, of services whose records were written; nil: of any,
	// for something may have been missed. told must not wait.
	Follow(ctx context.Context, told func(services []string))
}

const (
	shareWithin = 500 * time.Millisecond // that an answer of the store may take
	shareTries  = 3                      // of one record, against others who write
	leastLease  = time.Second
)

// sharing carries news between breakers and the store. Its goroutines are the registry's: they
// start with the first breaker that is shared, and close ends them.
type sharing struct {
	store BreakerStore
	clock clock.Clock
	log   zerolog.Logger

	mu       sync.Mutex // guards all below; taken for transitions, never for a request that goes well
	breakers map[string][]*Breaker
	heard    map[string]struct{} // services whose records are to be read
	spoken   map[*Breaker]struct{}
	all      bool // all records are to be read

	bell    chan struct{}
	stop    context.CancelFunc
	stopped sync.WaitGroup
	away    bool // of the courier alone
}

func newSharing(g Guarding) *sharing {
	ctx, stop := context.WithCancel(context.Background())
	s := &sharing{
		store: g.Store, clock: g.Clock, log: g.Log, stop: stop, bell: make(chan struct{}, 1),
		breakers: map[string][]*Breaker{}, heard: map[string]struct{}{}, spoken: map[*Breaker]struct{}{},
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
	b.sharing.Store(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.breakers[b.service] = append(s.breakers[b.service], b)
	s.heard[b.service] = struct{}{}
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

// speak has the courier look at what b has to tell, or to ask for.
func (s *sharing) speak(b *Breaker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoken[b] = struct{}{}
	s.ring()
}

// told is called by the store.
func (s *sharing) told(services []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = s.all || services == nil
	for _, service := range services {
		if s.breakers[service] != nil {
			s.heard[service] = struct{}{}
		}
	}
	s.ring()
}

// carry is the courier. It does one thing after the other, until ctx is done.
func (s *sharing) carry(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.bell:
		}
		heard, spoken := s.take()
		s.listen(ctx, heard)
		for i, b := range spoken {
			if !s.say(ctx, b) {
				for _, rest := range spoken[i+1:] { // nobody waits for a store that is away once for each
					rest.alone(s.clock.Mono())
				}
				break
			}
		}
	}
}

// take returns what is to be read, and who has something to say. Breakers are asked without
// the lock, which they take under their own.
func (s *sharing) take() (heard []string, spoken []*Breaker) {
	s.mu.Lock()
	all := s.all
	var silent []*Breaker
	for service, breakers := range s.breakers {
		if _, ok := s.heard[service]; ok || all {
			heard = append(heard, service)
		}
		for _, b := range breakers {
			if _, ok := s.spoken[b]; ok {
				spoken = append(spoken, b)
			} else if all {
				silent = append(silent, b)
			}
		}
	}
	s.all = false
	clear(s.heard)
	clear(s.spoken)
	s.mu.Unlock()
	for _, b := range silent {
		if b.unsaid() {
			spoken = append(spoken, b)
		}
	}
	return heard, spoken
}

// listen has breakers follow the records of services.
func (s *sharing) listen(ctx context.Context, services []string) {
	if len(services) == 0 {
		return
	}
	short, cancel := context.WithTimeout(ctx, shareWithin)
	defer cancel()
	records, err := s.store.Read(short, services)
	if s.see(ctx, err); err != nil {
		return // the store tells when it is back
	}
	now := s.clock.Mono()
	for service, r := range records {
		for _, b := range s.of(service) {
			b.follow(r, now)
		}
	}
}

func (s *sharing) of(service string) []*Breaker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.breakers[service]
}

// say writes what b has to tell; false says that the store is away.
func (s *sharing) say(ctx context.Context, b *Breaker) bool {
	for range shareTries {
		after, r, ok := b.news(s.clock.Mono(), s.clock.Now())
		if !ok {
			return true
		}
		short, cancel := context.WithTimeout(ctx, shareWithin)
		stands, written, err := s.store.Write(short, b.service, after, r)
		cancel()
		now := s.clock.Mono()
		if s.see(ctx, err); err != nil {
			b.alone(now)
			return false
		}
		if b.said(r, stands, written, now) {
			return true
		}
	}
	return true // whoever writes so often tells us
}

// see notes whether the store did what it was asked, and tells of a change once.
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
