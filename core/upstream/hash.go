package upstream

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/suuupra/gateway/core/hashing"
)

const (
	// ringPoints is how many points of the ring one unit of weight has while no weight is
	// above ringFull. The shares of endpoints then differ by some 9 % (1/√128); bounded loads
	// take care of that.
	ringPoints = 128
	ringFull   = 8
	// hashJumps is how many places a request looks at. At most 4 of 5 endpoints can be full,
	// and only under the worst of loads: 32 places without room come once in 1,000 then.
	hashJumps = 32
	// roomOver, by roomUnder, is how much more than its share an endpoint may have under way.
	roomOver, roomUnder = 5, 4
)

// load is how many requests are under way at the endpoints of a service together. All
// of its requests write it: what the mean is must be known to keep loads below a multiple of
// it. Only services that balance by consistent hashing have one.
type load struct {
	holders int // guarded by the registry's mu

	_ [128]byte
	n atomic.Int64
	_ [120]byte
}

// loadOf gives e the load of its service, if that hashes. Called under mu.
func (r *Registry) loadOf(e *Endpoint) {
	if !e.key.Hashed {
		return
	}
	name := e.key.Service
	if r.loads[name] == nil {
		r.loads[name] = &load{}
	}
	e.load = r.loads[name]
	e.load.holders++
}

// unload takes e from the load of its service, which goes with the last one; e keeps it
// for what is under way. Called under mu.
func (r *Registry) unload(e *Endpoint) {
	if e.load == nil {
		return
	}
	if e.load.holders--; e.load.holders == 0 {
		delete(r.loads, e.key.Service)
	}
}

// ring places endpoints on a circle of hashes: the first point at or behind a hash is its
// endpoint's.
type ring struct {
	points []uint64 // ascending
	owners []uint32 // of the points; indexes of the rotation's endpoints
	sum    int64    // of the rotation's weights
	load   *load
}

// newRing places endpoints by their weights, which are those declared times scale.
// The points of an endpoint follow from its address, its weight and the largest weight of all
// members: who comes, goes, is ejected or warms up moves no keys but its own.
func newRing(r *rotation, scale int) *ring {
	largest := 1
	for _, m := range r.members {
		largest = max(largest, m.Weight)
	}
	unit := ringPoints >> bits.Len(uint((largest-1)/ringFull))
	type place struct {
		hash  uint64
		owner uint32
	}
	var places []place
	out := &ring{}
	for i, e := range r.endpoints {
		out.sum += int64(r.weights[i])
		out.load = e.load
		state := uint64(hashing.New().AddString(e.Address))
		for range max(r.weights[i]*unit/scale, 1) {
			state += hashing.Golden
			places = append(places, place{hashing.Mix(state), uint32(i)})
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return 0
	})
	for _, p := range places {
		out.points, out.owners = append(out.points, p.hash), append(out.owners, p.owner)
	}
	return out
}

// owner is the endpoint at a hash.
func (g *ring) owner(hash uint64) int {
	i, _ := slices.BinarySearch(g.points, hash)
	if i == len(g.points) {
		i = 0
	}
	return int(g.owners[i])
}

// hashed returns the endpoint at the hash if it has room, else the one at a hash made of
// it, and so on: what overflows is spread over all, and not heaped upon a neighbour. 0 is
// any place.
func hashed(r *rotation, _ *Service, hash uint64) *Endpoint {
	if hash == 0 {
		hash = rand.Uint64()
	}
	total := r.ring.load.n.Load() + 1
	i := 0
	for range hashJumps {
		hash = hashing.Mix(hash)
		if i = r.ring.owner(hash); r.room(i, total) {
			return r.endpoints[i]
		}
	}
	for range r.endpoints {
		if i = (i + 1) % len(r.endpoints); r.room(i, total) {
			break
		}
	}
	return r.endpoints[i]
}

// room says whether the i-th endpoint may have one more under way when total are to be.
func (r *rotation) room(i int, total int64) bool {
	return roomUnder*r.ring.sum*r.endpoints[i].InFlight() < roomOver*total*int64(r.weights[i])
}
