package tunnel

import (
	"cmp"
	"errors"
	"net"
	"runtime"
	"slices"
	"sync"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// What Take refuses with.
var (
	// ErrFull says that the route has as many tunnels as it may.
	ErrFull = errors.New("the route has as many tunnels as it may")
	// ErrDraining says that the gateway goes away.
	ErrDraining = errors.New("the gateway is draining")
)

// Registry holds all tunnels of a process. It outlives every snapshot, and so do
// they. Its methods may be called concurrently. What it needs to carry bytes it
// makes with the first tunnel: who has none pays nothing.
type Registry struct {
	clock clock.Clock
	meter *meter.Set
	stuck sync.Pool // *leftover

	// mu guards all below. It is taken when tunnels come and go, and by the sweeper,
	// for no byte.
	mu       sync.Mutex
	seats    map[string]int // by route
	series   map[seriesKey]*series
	tunnels  map[uint64]*Tunnel
	last     uint64 // id
	pollers  []*poller
	turn     int // whose turn it is
	running  bool
	draining bool
	closed   bool
	untold   int // tunnels that were cut without a word to their client while draining

	stop   chan struct{}
	swept  chan struct{} // closed by the sweeper at its end
	relays sync.WaitGroup
}

// New returns an empty registry. Close stops what it starts.
func New(c clock.Clock, m *meter.Set) *Registry {
	r := &Registry{
		clock: c, meter: m,
		seats: map[string]int{}, series: map[seriesKey]*series{}, tunnels: map[uint64]*Tunnel{},
		stop: make(chan struct{}), swept: make(chan struct{}),
	}
	r.stuck.New = func() any { return new(leftover) }
	return r
}

// Seat is a place for one tunnel of a route. Open or Leave is called, once.
type Seat struct {
	registry *Registry
	series   *series
}

// Take reserves a place on a route, of which there are maximum; 0 is no bound. The
// error is ErrFull or ErrDraining. Tunnels count for their route however often it
// was configured anew.
func (r *Registry) Take(route, service string, maximum int) (*Seat, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.draining || r.closed:
		return nil, ErrDraining
	case maximum > 0 && r.seats[route] >= maximum:
		return nil, ErrFull
	}
	r.seats[route]++
	return &Seat{registry: r, series: r.seriesOf(route, service)}, nil
}

// Leave gives the place back.
func (s *Seat) Leave() {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	s.leave()
}

// leave is Leave under the lock.
func (s *Seat) leave() {
	r, route := s.registry, s.series.route
	if r.seats[route]--; r.seats[route] == 0 {
		delete(r.seats, route)
	}
}

// Open starts a tunnel. It owns both connections from now on, whatever happens. The
// tunnel may be over when it returns.
func (s *Seat) Open(spec Spec) *Tunnel {
	r := s.registry
	t := &Tunnel{
		seat: s, correlationID: spec.CorrelationID, endpoint: spec.Endpoint, client: spec.Client,
		idle: spec.Idle, opened: r.clock.Now(), done: spec.Done,
		conns: [directions]net.Conn{spec.ClientEnd.Conn, spec.ServiceEnd.Conn},
	}
	t.active.Store(r.clock.Mono())
	switch r.enter(t, [directions][]byte{spec.ClientEnd.Early, spec.ServiceEnd.Early}) {
	case tooLate:
		t.finish(ByDrain)
	case leaving:
		t.mover.dismiss(t, ByDrain)
	}
	return t
}

// What a tunnel enters into.
const (
	serving = iota
	leaving // the registry drains
	tooLate // it is closed
)

// enter makes t known and lets it begin. Orders about it can only follow.
func (r *Registry) enter(t *Tunnel, early [directions][]byte) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	t.id = r.last
	t.seat.series.opened.Add(0, 1)
	t.seat.series.open++
	if r.closed {
		return tooLate
	}
	r.run()
	r.tunnels[t.id] = t
	t.mover = r.moverFor(t)
	t.mover.start(t, early)
	if r.draining {
		return leaving
	}
	return serving
}

// moverFor is the poller whose turn it is, if both ends are sockets that can be
// taken away, else two goroutines of the tunnel's own. Called under mu.
func (r *Registry) moverFor(t *Tunnel) mover {
	client, service := bare(t.conns[fromClient]), bare(t.conns[fromService])
	if client == nil || service == nil || len(r.pollers) == 0 {
		return &relay{registry: r, tunnel: t}
	}
	fds, err := detach(client, service)
	if err != nil {
		// There is no third descriptor to be had: that costs memory, and nobody a connection.
		return &relay{registry: r, tunnel: t}
	}
	for i, fd := range fds {
		t.raw.ends[i].fd = fd
	}
	p := r.pollers[r.turn%len(r.pollers)]
	r.turn++
	return p
}

// run starts the pollers and the sweeper, once. Called under mu.
func (r *Registry) run() {
	if r.running {
		return
	}
	r.running = true
	for i := range runtime.GOMAXPROCS(0) {
		p, err := newPoller(uint32(i), r.clock, &r.stuck)
		if err != nil {
			break // as in moverFor: the ones that there are will do, or none
		}
		r.pollers = append(r.pollers, p)
	}
	go r.sweepUntilStopped()
}

// finish is called once for each tunnel, by its mover, when both sockets are closed
// or about to be.
func (t *Tunnel) finish(why Reason) {
	r := t.seat.registry
	for _, c := range t.conns {
		_ = c.Close() // it has nothing to say that anybody waits for
	}
	if t.done != nil {
		t.done()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tunnels, t.id)
	t.seat.leave()
	t.seat.series.open--
	r.closedSeries(t.seat.series, why).Add(0, 1)
	if why == ByDrain && !t.told() {
		r.untold++
	}
}

// List is what is known of all tunnels, the oldest first.
func (r *Registry) List() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Info, 0, len(r.tunnels))
	for _, t := range r.tunnels {
		out = append(out, t.info())
	}
	slices.SortFunc(out, func(a, b Info) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Len is how many tunnels there are.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.tunnels)
}

// CloseTunnel says goodbye to the ends of one tunnel, which then closes. It returns
// false if there is none of that id.
func (r *Registry) CloseTunnel(id uint64) bool {
	r.mu.Lock()
	t := r.tunnels[id]
	r.mu.Unlock()
	if t == nil {
		return false
	}
	t.mover.dismiss(t, ByOperator)
	return true
}

// all lists the tunnels in the order of their ids.
func (r *Registry) all() []*Tunnel {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*Tunnel, 0, len(r.tunnels))
	for _, t := range r.tunnels {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *Tunnel) int { return cmp.Compare(a.id, b.id) })
	return out
}

// Close ends every tunnel at once, stops all goroutines and waits for them. No
// tunnel can be opened afterwards.
func (r *Registry) Close() {
	r.mu.Lock()
	already := r.closed
	r.closed = true
	running, pollers := r.running, r.pollers
	r.mu.Unlock()
	if already {
		return
	}
	for _, t := range r.all() {
		t.mover.end(t, ByDrain)
	}
	for _, p := range pollers {
		p.stop()
	}
	r.relays.Wait()
	if running {
		close(r.stop)
		<-r.swept
	}
}
