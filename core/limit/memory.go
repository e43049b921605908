package limit

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// Memory counts for one instance, and from its start. It is for concurrent use.
//
// A counter that is there is charged without a lock that others share, and without an
// allocation: a token bucket is one word that is compared and swapped, a sliding window
// or log has a lock of its own. One that is full again is worth nothing, and goes.
//
// A request is charged all or nothing without a lock over its counters: Take looks at all
// of them first, then charges one after the other. If one has been exhausted in
// between, those before are given back what they have not gained meanwhile. Until
// then they only deny others, so that the bound of every counter holds at any moment
// (see bucket.refund).
type Memory struct {
	clock     clock.Clock
	seeds     seeds
	shards    []shard
	most      int   // counters in a shard
	records   int64 // that logs may remember
	known     atomic.Pointer[map[numbers]*terms]
	learning  sync.Mutex   // of who writes known
	recorded  atomic.Int64 // records that logs have memory for; written when one grows
	forgotten atomic.Int64 // written when a counter goes that still counted

	begin   sync.Once // of sweeping, with the first counter
	end     sync.Once
	stop    chan struct{}
	stopped chan struct{}
}

// MemoryOptions are the bounds of a Memory. A zero field is its default.
type MemoryOptions struct {
	// Entries is how many counters it holds, by default 1,000,000 at up to 200 bytes.
	// Where there are more, those go first that are full again, then those that have
	// the largest part left: a flood of new keys does not make it forget who has
	// exhausted a limit.
	Entries int
	// Records is how many requests all sliding logs remember apart, by default
	// 4,000,000 at 16 bytes. Beyond, requests of a counter are remembered together at
	// the time of the latest: it then denies too long, and never admits too many.
	Records int
}

const (
	defaultEntries = 1_000_000
	defaultRecords = 4_000_000
	// mostShards is the number of shards of a large store: a shard's table is
	// copied in well under a millisecond then.
	mostShards = 256
	// leastShard is the least share of a shard.
	leastShard = 64
	// mostTerms is how many policies are kept compiled; more are compiled again.
	mostTerms = 4096
)

var _ Store = (*Memory)(nil)

// NewMemory returns a store that has counted nothing. With the first charge it starts a
// goroutine, which Close ends.
func NewMemory(c clock.Clock, o MemoryOptions) *Memory {
	if o.Entries <= 0 {
		o.Entries = defaultEntries
	}
	if o.Records <= 0 {
		o.Records = defaultRecords
	}
	n := 1
	for n < mostShards && o.Entries/(2*n) >= leastShard {
		n *= 2
	}
	m := &Memory{clock: c, seeds: newSeeds(), shards: make([]shard, n), most: max(o.Entries/n, 1), records: int64(o.Records),
		stop: make(chan struct{}), stopped: make(chan struct{})}
	m.known.Store(&map[numbers]*terms{})
	for i := range m.shards {
		m.shards[i].slots.Store(newTable(0))
	}
	return m
}

// Close ends the sweeping and waits for its end; it may be called again. Take still
// works after it.
func (m *Memory) Close() error {
	m.end.Do(func() { close(m.stop) })
	m.begin.Do(func() { close(m.stopped) })
	<-m.stopped
	return nil
}

// Len is how many counters are held.
func (m *Memory) Len() int {
	n := 0
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		n += s.live
		s.mu.Unlock()
	}
	return n
}

// Forgotten is how many counters had to go for want of room while they still counted.
func (m *Memory) Forgotten() int64 { return m.forgotten.Load() }

var errCost = errors.New("a charge costs from 1 token")

// receipt is what a charge has taken, to give it back.
type receipt struct {
	print   fingerprint
	entry   *entry
	taken   int64
	charged int64 // parts since a bucket's epoch
	stamp   int64 // of a ledger
}

// Take is Store's. It fails for charges that make no sense only.
func (m *Memory) Take(charges []Charge) (denied int, err error) {
	now := m.clock.Mono()
	if len(charges) == 1 {
		r := receipt{print: m.seeds.of(charges[0].Key)}
		admitted, err := m.charge(&charges[0], &r, now)
		if admitted {
			return Admitted, nil
		}
		return 0, err
	}
	var few [8]receipt
	receipts := few[:]
	if len(charges) > len(few) {
		receipts = make([]receipt, len(charges))
	}
	denied = Admitted
	for i := range charges {
		receipts[i].print = m.seeds.of(charges[i].Key)
		admitted, err := m.look(&charges[i], &receipts[i], now)
		if err != nil {
			return i, err
		}
		if !admitted && denied == Admitted {
			denied = i
		}
	}
	if denied != Admitted {
		return denied, nil
	}
	for i := range charges {
		admitted, err := m.charge(&charges[i], &receipts[i], now)
		if err != nil || !admitted {
			m.undo(charges[:i], receipts, now)
			return i, err
		}
	}
	return Admitted, nil
}

// Look decides one charge as Take would now, and counts nothing.
func (m *Memory) Look(c *Charge) (admitted bool, err error) {
	r := receipt{print: m.seeds.of(c.Key)}
	return m.look(c, &r, m.clock.Mono())
}

// look decides a charge and counts nothing.
func (m *Memory) look(c *Charge, r *receipt, now int64) (admitted bool, err error) {
	for {
		e, err := m.entry(c, r, now)
		if err != nil {
			return false, err
		}
		if e == nil {
			if _, err := m.terms(c.Policy); err != nil {
				return false, err
			}
			c.Remaining, c.Reset, c.Wait = c.Policy.Capacity(), 0, 0
			if c.Cost > c.Remaining && !c.Bypass {
				c.Wait = Never
			}
			return c.Wait == 0, nil
		}
		if e.ledger != nil {
			if admitted, alive := e.lookLedger(c, now); alive {
				return admitted, nil
			}
		} else if b := e.bucket.Load(); b != dead {
			at := e.terms.at(now - e.epoch)
			_, _, admitted = bucket(b).charge(e.terms, at, c.Cost, c.Bypass)
			bucket(b).report(e.terms, at, c, admitted)
			return admitted, nil
		}
		r.entry = nil
	}
}

// charge decides a charge, and counts it if it is admitted.
func (m *Memory) charge(c *Charge, r *receipt, now int64) (admitted bool, err error) {
	for {
		e, err := m.entry(c, r, now)
		if err != nil {
			return false, err
		}
		if e == nil {
			if c.Cost > c.Policy.Capacity() && !c.Bypass {
				return m.look(c, r, now) // nothing to count: no entry is made for it
			}
			if admitted, err := m.place(c, r); admitted || err != nil {
				return admitted, err
			}
			continue
		}
		if e.ledger != nil {
			if admitted, alive := m.chargeLedger(e, c, r, now); alive {
				return admitted, nil
			}
		} else if admitted, alive := e.chargeBucket(c, r, now); alive {
			return admitted, nil
		}
		r.entry = nil
	}
}

// undo gives back what was charged for a request that was denied in the end, and tells
// of each counter as it is then.
func (m *Memory) undo(charges []Charge, receipts []receipt, now int64) {
	for i := range charges {
		r := &receipts[i]
		if r.entry.ledger != nil {
			r.entry.ledger.giveBack(r.stamp, r.taken)
		} else {
			m.refund(r)
		}
	}
	for i := range charges {
		if _, err := m.look(&charges[i], &receipts[i], now); err == nil {
			charges[i].Wait = 0 // it did admit
		}
	}
}

// entry is the counter of a charge, with the policy's terms; nil if there is none.
func (m *Memory) entry(c *Charge, r *receipt, now int64) (*entry, error) {
	if c.Cost < 1 {
		return nil, errCost
	}
	e := r.entry
	if e == nil {
		if e = m.shard(r.print).find(r.print); e == nil {
			return nil, nil
		}
		r.entry = e
	}
	if e.terms.numbers == c.Policy.numbers() && !e.old(now) {
		return e, nil
	}
	return m.renew(c, r, now)
}

// terms are those of a policy, compiled once.
func (m *Memory) terms(p *Policy) (*terms, error) {
	if t := (*m.known.Load())[p.numbers()]; t != nil {
		return t, nil
	}
	t, err := newTerms(p)
	if err != nil {
		return nil, err
	}
	m.learning.Lock()
	defer m.learning.Unlock()
	old := *m.known.Load()
	known := make(map[numbers]*terms, len(old)+1)
	if len(old) < mostTerms {
		for n, t := range old {
			known[n] = t
		}
	}
	known[t.numbers] = t
	m.known.Store(&known)
	return t, nil
}

// sweepEach is how often what is full again goes.
const sweepEach = 30 * time.Second

// sweeping is the goroutine that Close ends.
func (m *Memory) sweeping() {
	defer close(m.stopped)
	timer := m.clock.NewTimer(sweepEach)
	defer timer.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-timer.C():
		}
		for i := range m.shards {
			m.sweep(&m.shards[i], m.clock.Mono())
		}
		timer.Reset(sweepEach)
	}
}

// dead is the word of a bucket that has gone: who still holds it looks again.
const dead = math.MinInt64
