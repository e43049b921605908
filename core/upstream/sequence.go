package upstream

import "container/heap"

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
