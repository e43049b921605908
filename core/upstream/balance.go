package upstream

import (
	"math/rand/v2"

	"github.com/suuupra/gateway/core/hashing"
)

// balancer returns the balancer of a rotation with n endpoints.
func balancer(b Balance, n int) func(*rotation, *Service, uint64) *Endpoint {
	switch {
	case n == 1:
		return only
	case b == LeastRequests:
		return leastRequests
	case b == Random:
		return random
	case b == ConsistentHash:
		return hashed
	default:
		return roundRobin
	}
}

func only(r *rotation, _ *Service, _ uint64) *Endpoint { return r.endpoints[0] }

func roundRobin(r *rotation, s *Service, _ uint64) *Endpoint {
	turn := s.cursor.Add(1) - 1
	return r.endpoints[r.sequence[turn%uint64(len(r.sequence))]]
}

func random(r *rotation, _ *Service, _ uint64) *Endpoint {
	return r.endpoints[r.sequence[rand.IntN(len(r.sequence))]]
}

// leastRequests compares two different endpoints by requests in flight, with the
// one that would come, per weight.
func leastRequests(r *rotation, _ *Service, _ uint64) *Endpoint {
	i := rand.IntN(len(r.endpoints))
	j := rand.IntN(len(r.endpoints) - 1)
	if j >= i {
		j++
	}
	a, b := r.endpoints[i], r.endpoints[j]
	if (a.InFlight()+1)*int64(r.weights[j]) <= (b.InFlight()+1)*int64(r.weights[i]) {
		return a
	}
	return b
}

// other finds an endpoint that was not tried: a few turns on, or at hashes made of the
// given one, else whichever comes first in the list, else e.
func (r *rotation) other(s *Service, e *Endpoint, tried *Tried, hash uint64) *Endpoint {
	for range min(2*len(r.endpoints), 2*mostTried) {
		if hash != 0 {
			hash = hashing.Mix(hash + hashing.Golden)
		}
		if next := r.choose(r, s, hash); !tried.Has(next) {
			return next
		}
	}
	for _, next := range r.endpoints {
		if !tried.Has(next) {
			return next
		}
	}
	return e
}
