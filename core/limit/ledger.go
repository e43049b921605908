package limit

import (
	"sort"
	"time"
)

// ledger is what a sliding window or log has admitted lately, in the order of time. Both
// are the same: a charge counts until Per after its stamp. The stamp of a log's is
// when it was admitted, that of a window's the end of its slot, of which Per has 64. So a
// window is at most a slot of 65 late, and never early.
type ledger struct {
	records []record // records[head:] count, or did lately
	head    int
	used    int64 // the sum of their costs
	latest  int64 // the time of the last decision
}

type record struct {
	stamp int64 // nanoseconds
	cost  int64
}

// slots is how many a window's Per has.
const slots = 64

// stamp is that of a charge which is admitted now.
func (t *terms) stamp(now int64) int64 {
	if t.algorithm == SlidingLog {
		return now
	}
	per := int64(t.per)
	begun, rest := now-now%per, now%per
	slot := rest * slots / per
	return begun + ((slot+1)*per+slots-1)/slots
}

// expire forgets what no longer counts, and returns the time that holds for this decision:
// who has looked at his clock before others, and comes after them, comes when they did. By
// a time that went back he would be admitted beside what they have seen to the end.
func (l *ledger) expire(t *terms, now int64) int64 {
	now = max(now, l.latest)
	l.latest = now
	for l.head < len(l.records) && l.records[l.head].stamp+int64(t.per) <= now {
		l.used -= l.records[l.head].cost
		l.head++
	}
	if l.head == len(l.records) {
		l.records, l.head = l.records[:0], 0
	}
	return now
}

// admit says whether a charge of cost is admitted, after expire, and what of it is to be
// counted.
func (l *ledger) admit(t *terms, cost int64, bypass bool) (taken int64, admitted bool) {
	room := max(0, t.count-l.used)
	if cost > room && !bypass {
		return 0, false
	}
	return min(cost, room), true
}

// insert keeps the order: the stamps of another policy's slots may be later.
func (l *ledger) insert(r record) {
	l.used += r.cost
	at := len(l.records)
	for at > l.head && l.records[at-1].stamp > r.stamp {
		at--
	}
	if at > l.head && l.records[at-1].stamp == r.stamp {
		l.records[at-1].cost += r.cost
		return
	}
	if len(l.records) == cap(l.records) && !l.tight() {
		n := copy(l.records, l.records[l.head:])
		at -= l.head
		l.records, l.head = l.records[:n], 0
	}
	l.records = append(l.records, record{})
	copy(l.records[at+1:], l.records[at:])
	l.records[at] = r
}

// crowd counts one more into the last record, as if that had all come now. It never
// admits more for it.
func (l *ledger) crowd(r record) {
	last := &l.records[len(l.records)-1]
	last.stamp = max(last.stamp, r.stamp)
	last.cost += r.cost
	l.used += r.cost
}

// tight says that another record needs more memory: there is too little to gain by
// moving those that count to the front.
func (l *ledger) tight() bool { return len(l.records) == cap(l.records) && l.head*4 < len(l.records) }

// refund takes back what a charge has counted, if that still counts.
func (l *ledger) refund(stamp, cost int64) {
	live := l.records[l.head:]
	i := sort.Search(len(live), func(i int) bool { return live[i].stamp >= stamp })
	if i == len(live) || live[i].stamp != stamp {
		return
	}
	cost = min(cost, live[i].cost)
	l.used -= cost
	if live[i].cost -= cost; live[i].cost == 0 {
		l.records = l.records[:l.head+i+copy(live[i:], live[i+1:])]
	}
}

// report sets what is told of the ledger, after expire, whose charge of cost was
// decided.
func (l *ledger) report(t *terms, now int64, c *Charge, admitted bool) {
	live := l.records[l.head:]
	c.Remaining, c.Reset, c.Wait = max(0, t.count-l.used), 0, 0
	if n := len(live); n > 0 {
		c.Reset = time.Duration(live[n-1].stamp + int64(t.per) - now)
	}
	switch {
	case admitted:
		return
	case c.Cost > t.count:
		c.Wait = Never
		return
	}
	for need := l.used + c.Cost - t.count; need > 0 && len(live) > 0; live = live[1:] {
		need -= live[0].cost
		c.Wait = time.Duration(live[0].stamp + int64(t.per) - now)
	}
}
