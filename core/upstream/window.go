package upstream

import "sync/atomic"

// The ring of ticks has ringSlots slots, a power of two: room for the ticks that somebody looks
// back over, and for those that are being begun.
const (
	ringSlots = 16
	ringLanes = 8
)

// ticks counts what every request does by the tick of its time, in lanes, so that two
// cores mostly write two cache lines. What a tick is, its owner says. The zero value is
// ready; it is for any number of goroutines at once, and takes no lock.
type ticks struct{ lanes [ringLanes]lane }

// lane is what one stripe counted: each slot holds the low 32 bits of its tick above,
// and a count below.
type lane struct {
	slots [ringSlots]atomic.Uint64
}

// add counts one for the caller's stripe; any index will do. A tick that the ring has
// gone past since is counted nowhere.
func (r *ticks) add(stripe uint32, tick uint64) {
	tag := uint64(uint32(tick))
	slot := &r.lanes[stripe%ringLanes].slots[tick%ringSlots]
	for {
		old := slot.Load()
		switch {
		case old>>32 == tag && uint32(old) != ^uint32(0):
			slot.Add(1)
			return
		case old>>32 == tag: // full: a count beyond 2³² changes nothing
			return
		case int32(uint32(old>>32)-uint32(tag)) > 0 && uint32(old) > 0: // whoever came was held up for a whole turn
			return
		case slot.CompareAndSwap(old, tag<<32|1):
			return
		}
	}
}

// sum is what was counted from tick first to tick last, about: what is being counted
// meanwhile may be in it.
func (r *ticks) sum(first, last uint64) (n uint64) {
	for i := range r.lanes {
		for tick := first; tick <= last; tick++ {
			v := r.lanes[i].slots[tick%ringSlots].Load()
			if v>>32 == uint64(uint32(tick)) {
				n += uint64(uint32(v))
			}
		}
	}
	return n
}
