package upstream

import (
	"container/heap"
	"math/rand/v2"
	"sync/atomic"
)

// Service is a named group of endpoints. Pick and the budget are for any number of
// goroutines at once, and allocate nothing.
type Service struct {
	Name     string
	Timeouts Timeouts
	Retry    Retry

	Budget Budget

	registry *Registry
	id       string
	holders  int // guarded by the registry's mu

	endpoints []*Endpoint
	weights   []int
	choose    func(*Service) *Endpoint
	sequence  []uint32 // indexes of endpoints, in the order of their turns

	_ [128]byte
	// cursor counts the turns. All requests of the service write it: exactness
	// needs one order of turns. Measured at 64 callers it is lost in the noise of
	// the system calls beside it.
	cursor atomic.Uint64
	_      [120]byte
}

// Release gives a holder's claim back; each holder calls it once.
func (s *Service) Release() { s.registry.release(s) }

// Endpoints are the endpoints as declared. The slice must not be written.
func (s *Service) Endpoints() []*Endpoint { return s.endpoints }

// Weight is the weight of the i-th endpoint.
func (s *Service) Weight(i int) int { return s.weights[i] }

// mostTried is how many endpoints one exchange can have tried: a retry count is
// 10 at most.
const mostTried = 16

// Tried are the endpoints that an exchange has tried. The zero value is none.
type Tried struct {
	n    int
	list [mostTried]*Endpoint
}

// Add notes e.
func (t *Tried) Add(e *Endpoint) {
	if t.n < len(t.list) {
		t.list[t.n] = e
		t.n++
	}
}

// Has says whether e was tried.
func (t *Tried) Has(e *Endpoint) bool {
	for _, other := range t.list[:t.n] {
		if other == e {
			return true
		}
	}
	return false
}

// Pick returns the endpoint whose turn it is, passing over those that tried holds,
// and notes it there. When all were tried, any may come again.
func (s *Service) Pick(tried *Tried) *Endpoint {
	e := s.choose(s)
	if tried.n > 0 && tried.Has(e) {
		e = s.other(e, tried)
	}
	tried.Add(e)
	return e
}

// other finds an endpoint that was not tried: a few turns on, else whichever
// comes first in the list, else e.
func (s *Service) other(e *Endpoint, tried *Tried) *Endpoint {
	for range min(2*len(s.endpoints), 2*mostTried) {
		if next := s.choose(s); !tried.Has(next) {
			return next
		}
	}
	for _, next := range s.endpoints {
		if !tried.Has(next) {
			return next
		}
	}
	return e
}

// balance makes the sequence and takes the balancer.
func (s *Service) balance(b Balance) {
	s.sequence = sequence(s.weights)
	switch {
	case len(s.endpoints) == 1:
		s.choose = (*Service).only
	case b == LeastRequests:
		s.choose = (*Service).leastRequests
	case b == Random:
		s.choose = (*Service).random
	default:
		s.choose = (*Service).roundRobin
	}
}

func (s *Service) only() *Endpoint { return s.endpoints[0] }

func (s *Service) roundRobin() *Endpoint {
	turn := s.cursor.Add(1) - 1
	return s.endpoints[s.sequence[turn%uint64(len(s.sequence))]]
}

func (s *Service) random() *Endpoint {
	return s.endpoints[s.sequence[rand.IntN(len(s.sequence))]]
}

// leastRequests compares two different endpoints by requests in flight, with the
// one that would come, per weight.
func (s *Service) leastRequests() *Endpoint {
	i := rand.IntN(len(s.endpoints))
	j := rand.IntN(len(s.endpoints) - 1)
	if j >= i {
		j++
	}
	a, b := s.endpoints[i], s.endpoints[j]
	if (a.InFlight()+1)*int64(s.weights[j]) <= (b.InFlight()+1)*int64(s.weights[i]) {
		return a
	}
	return b
}

// longestSequence bounds the memory of a sequence (4 bytes a turn). Beyond it,
// weights are scaled down, which costs exactness of less than one percent.
const longestSequence = 1 << 21

// sequence returns the turns of one cycle: of the endpoints whose next turn may have
// begun, the one whose turn must end first.
func sequence(weights []int) []uint32 {
	scaled, length := reduced(weights)
	waiting, ready := &turnHeap{}, &turnHeap{end: 1}
	for i, w := range scaled {
		waiting.turns = append(waiting.turns, turn{endpoint: uint32(i), weight: uint64(w)})
	}
	heap.Init(waiting)
	out := make([]uint32, 0, length)
	for n := range uint64(length) {
		for waiting.Len() > 0 && waiting.turns[0].taken*uint64(length) <= n*waiting.turns[0].weight {
			heap.Push(ready, heap.Pop(waiting))
		}
		next := heap.Pop(ready).(turn)
		out = append(out, next.endpoint)
		next.taken++
		heap.Push(waiting, next)
	}
	return out
}

// reduced divides the weights by their greatest common divisor, and further if
// their sum is still too long for a sequence.
func reduced(weights []int) (scaled []int, sum int) {
	divisor := 0
	for _, w := range weights {
		divisor = gcd(divisor, w)
		sum += w
	}
	divisor = max(divisor, (sum+longestSequence-1)/longestSequence)
	sum = 0
	for _, w := range weights {
		scaled = append(scaled, max(w/divisor, 1))
		sum += scaled[len(scaled)-1]
	}
	return scaled, sum
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// turn is the next turn of an endpoint: it begins at taken/weight of the cycle, and
// ends at (taken+1)/weight.
type turn struct {
	endpoint      uint32
	weight, taken uint64
}

// turnHeap has the turn on top that begins first (end 0) or ends first (end 1);
// among equals the endpoint that was declared first.
type turnHeap struct {
	turns []turn
	end   uint64
}

func (h *turnHeap) Len() int { return len(h.turns) }

func (h *turnHeap) Less(i, j int) bool {
	a, b := (h.turns[i].taken+h.end)*h.turns[j].weight, (h.turns[j].taken+h.end)*h.turns[i].weight
	if a != b {
		return a < b
	}
	return h.turns[i].endpoint < h.turns[j].endpoint
}

func (h *turnHeap) Swap(i, j int) { h.turns[i], h.turns[j] = h.turns[j], h.turns[i] }

// Push adds a turn; it implements heap.Interface.
func (h *turnHeap) Push(t any) { h.turns = append(h.turns, t.(turn)) }

// Pop removes the last turn; it implements heap.Interface.
func (h *turnHeap) Pop() any {
	last := len(h.turns) - 1
	t := h.turns[last]
	h.turns = h.turns[:last]
	return t
}
