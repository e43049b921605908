package proxy

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/tunnel"
	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

// Options are what a proxy is made of.
type Options struct {
	// Clock tells when waits end; required. Deadlines of sockets are those of the
	// runtime's poller all the same, so that a clock that stands lets none expire.
	Clock clock.Clock
	// Meter shows the proxy's counters; required.
	Meter *meter.Set
	// Untrusted, if not nil, is told once of each peer that sent forwarded fields
	// without being believed, so that an operator learns which key to set. It is
	// called on the request's goroutine, at most strangersKnown times in all.
	Untrusted func(peer netip.Addr)
	// Barred, if not nil, says of an address that no name may lead to it: it is
	// asked about each one before it is connected to, whoever resolved it.
	Barred func(netip.AddrPort) bool
	// Stays, if not nil, are told of answers that stream and of tunnels on behalf of a
	// principal, and end them when it is revoked (SECURITY I21).
	Stays *revocation.Stays
}

// Proxy is the transport of all services. Its methods may be called concurrently.
type Proxy struct {
	clock     clock.Clock
	metrics   metrics
	meter     *meter.Set
	untrusted func(netip.Addr)
	barred    func(netip.AddrPort) bool
	limits    *wire.Limits // of answers
	sweeper   *sweeper
	tunnels   *tunnel.Registry
	stays     *revocation.Stays // nil: nobody is ever revoked

	trips   sync.Pool // *trip
	pieces  sync.Pool // *piece of pieceSize
	slabs   sync.Pool // *piece of slabSize
	scratch sync.Pool // *scratch
	guests  sync.Pool // *streamGuest
	readers sync.Pool // *probeReader
	// slabsLent is written twice for 128 KiB of a body.
	slabsLent atomic.Int32

	mu    sync.Mutex // guards pools: taken when an endpoint comes or goes, and by the sweeper
	pools map[*pool]struct{}

	strangersMu sync.Mutex // taken for requests with forwarded fields that nobody believes
	strangers   map[netip.Addr]struct{}
}

// scratch is pooled room to write something down.
type scratch struct{ bytes []byte }

// What an answer's head may be at most. Bytes are bounded by the buffer that it
// has to fit into.
const answerLines = 500

// New returns a proxy. Close stops what it starts.
func New(o Options) *Proxy {
	p := &Proxy{
		clock:     o.Clock,
		metrics:   newMetrics(o.Meter),
		meter:     o.Meter,
		untrusted: o.Untrusted,
		tunnels:   tunnel.New(o.Clock, o.Meter),
		barred:    o.Barred,
		stays:     o.Stays,
		limits:    &wire.Limits{Header: answerBuffer, Headers: answerLines, OddNames: wire.OddAllow},
		pools:     map[*pool]struct{}{},
		strangers: map[netip.Addr]struct{}{},
	}
	p.trips.New = func() any { return new(trip) }
	p.pieces.New = func() any { return newPiece(pieceSize) }
	p.slabs.New = func() any { return newPiece(slabSize) }
	p.scratch.New = func() any { return new(scratch) }
	p.guests.New = func() any { return new(streamGuest) }
	p.readers.New = func() any { return newProbeReader() }
	p.gauges(o.Meter)
	p.sweeper = newSweeper(p)
	go p.sweeper.run()
	return p
}

// Tunnels are the connections that have left HTTP.
func (p *Proxy) Tunnels() *tunnel.Registry { return p.tunnels }

// Close ends all tunnels, stops the sweeper, waits for both, and closes idle
// connections. No exchange may be under way.
func (p *Proxy) Close() {
	p.tunnels.Close()
	p.sweeper.close()
	for _, pool := range p.allPools() {
		pool.Close()
	}
}

// Open returns the pool of connections to an endpoint. It connects to nothing
// yet. It implements upstream.Opener.
func (p *Proxy) Open(k upstream.Key) upstream.Connections {
	pool := &pool{proxy: p, address: k.Address, settings: k.Connections, sealing: newSealing(k, p.meter)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pools[pool] = struct{}{}
	return pool
}

func (p *Proxy) forgetPool(gone *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pools, gone)
}

func (p *Proxy) allPools() []*pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*pool, 0, len(p.pools))
	for pool := range p.pools {
		all = append(all, pool)
	}
	return all
}

// expire closes connections that were idle for too long.
func (p *Proxy) expire() {
	now := p.clock.Mono()
	for _, pool := range p.allPools() {
		pool.expire(now)
	}
}

// strangersKnown is how many peers are told of. More would be a flood.
const strangersKnown = 1024

// stranger notes that an untrusted peer sent forwarded fields (SECURITY C10).
func (p *Proxy) stranger(peer netip.Addr, stripe uint32) {
	p.metrics.untrusted.Add(stripe, 1)
	if p.untrusted == nil {
		return
	}
	p.strangersMu.Lock()
	_, known := p.strangers[peer]
	if known = known || len(p.strangers) >= strangersKnown; !known {
		p.strangers[peer] = struct{}{}
	}
	p.strangersMu.Unlock()
	if !known {
		p.untrusted(peer)
	}
}
