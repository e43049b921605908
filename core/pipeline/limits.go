package pipeline

import (
	"bytes"
	"strconv"

	"github.com/suuupra/gateway/core/limit"
)

// Limits are the counters that a request is charged to, and what came of it. They
// keep their room from one exchange to the next. The zero value holds none.
type Limits struct {
	// Charges stand in the order in which the levels are asked.
	Charges []limit.Charge
	// Levels are the names of the levels that Charges are of, index by index.
	Levels []string

	keys []byte
}

// Add adds a charge to c, of the policy of both, for the level of that name. The
// value of c is borrowed for the call.
// Two levels that come to one counter are charged once: for a caller without a
// name, one by user may count the address that another counts as well.
func (l *Limits) Add(level string, c *limit.Counter, charge limit.Charge) {
	begun := len(l.keys)
	l.keys = c.AppendKey(l.keys)
	end := len(l.keys)
	if charge.Cost != 1 {
		l.keys = strconv.AppendInt(append(l.keys, '#'), charge.Cost, 10) // no key holds a '#'
	}
	charge.Key = l.keys[begun:end:len(l.keys)]
	for i := range l.Charges {
		if other := &l.Charges[i]; bytes.Equal(other.Key, charge.Key) {
			other.Bypass = other.Bypass && charge.Bypass
			l.keys = l.keys[:begun]
			return
		}
	}
	l.Charges, l.Levels = append(l.Charges, charge), append(l.Levels, level)
}

// Mark names what the i-th charge asks for among all that may be denied: its counter and
// its cost, for of what denies five there may be one left.
func (l *Limits) Mark(i int) []byte {
	key := l.Charges[i].Key
	return key[:cap(key)]
}

// Keep leaves of the charges the i-th alone.
func (l *Limits) Keep(i int) {
	l.Charges[0], l.Levels[0] = l.Charges[i], l.Levels[i]
	l.Charges, l.Levels = l.Charges[:1], l.Levels[:1]
}

// Reset leaves none, and the room.
func (l *Limits) Reset() {
	clear(l.Charges) // no policy is held by a pool
	clear(l.Levels)
	l.Charges, l.Levels, l.keys = l.Charges[:0], l.Levels[:0], l.keys[:0]
}
