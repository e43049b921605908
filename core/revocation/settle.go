package revocation

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// pollEvery is how often the durable store is asked, whether or not it told of
	// anything, and how often what is owed to a store is offered again.
	pollEvery = time.Second
	// wholeEvery is how often a store is read whole even if nothing was heard of it: what
	// somebody deleted there without a trace is found by that.
	wholeEvery = 10 * time.Minute
	// purgeEvery is how often the durable store forgets, and keptFor how long it keeps
	// what has expired, for clocks that go wrong.
	purgeEvery = time.Hour
	keptFor    = 24 * time.Hour
	// readTimeout bounds a question about some entries, wholeTimeout one about all.
	readTimeout  = 2 * time.Second
	wholeTimeout = 10 * time.Second
	// retrySoon is the wait after a question that failed.
	retrySoon = 200 * time.Millisecond
	// atOnce is how many entries are written by one call.
	atOnce = 500
)

// pollDurable is the loop of the durable store. Run owns it.
func (m *Mirror) pollDurable(ctx context.Context) {
	bell := make(chan struct{}, 1)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		m.durable.Watch(ctx, func() { ring(bell) })
	}()
	defer func() { <-watching }()

	var p poll
	for pause := time.Duration(0); m.wait(ctx, pause, bell); {
		pause = m.turn(ctx, &p)
	}
}

// poll is where the loop of the durable store stands.
type poll struct {
	cursor string
	// unsure says that the store was away. What was lost with it, such as by a server
	// that took over from another, is found by reading everything once it answers.
	unsure       bool
	whole, purge int64 // when these are due, monotonic
}

// turn asks the durable store once, writes what it lacks, and returns how long to wait.
func (m *Mirror) turn(ctx context.Context, p *poll) (pause time.Duration) {
	now := m.clock.Mono()
	if now >= p.whole && !p.unsure {
		p.cursor = ""
	}
	next, err := m.catchUp(ctx, p)
	if err != nil {
		p.unsure = p.cursor != ""
		m.failed(ctx, &m.saved, err)
		return retrySoon
	}
	if p.unsure {
		p.unsure, p.whole = false, 0
		return 0
	}
	if p.cursor == "" {
		p.whole = now + int64(spread(wholeEvery))
	}
	p.cursor = next
	m.settle(ctx, &m.saved)
	if now >= p.purge {
		p.purge = now + int64(spread(purgeEvery))
		if err := m.durable.Purge(ctx, m.clock.Now().Add(-keptFor).Unix()); err != nil && ctx.Err() == nil {
			m.log.Warn().Err(err).Msg("purging revocations that have expired failed")
		}
	}
	return pollEvery
}

// spread is d, more or less: instances that started together shall not ask together for ever.
func spread(d time.Duration) time.Duration { return d - d/8 + rand.N(d/4) }

// catchUp takes in what the durable store has since the cursor, and returns the next one.
func (m *Mirror) catchUp(ctx context.Context, p *poll) (next string, err error) {
	timeout, whole := readTimeout, p.cursor == ""
	if whole {
		timeout = wholeTimeout
	}
	ask, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	at := m.clock.Mono()
	entries, next, err := m.durable.Since(ask, p.cursor)
	if err != nil {
		return "", err
	}
	m.merge(entries)
	if whole {
		m.owe(&m.saved, entries)
	}
	if !p.unsure {
		m.saved.synced.Store(max(at, 1))
		m.reached(&m.saved, whole, len(entries))
	}
	return next, nil
}

// followPush is the loop of the push store. Run owns it.
func (m *Mirror) followPush(ctx context.Context) {
	box := newMailbox(m.clock.Mono)
	following := make(chan struct{})
	go func() {
		defer close(following)
		m.push.Follow(ctx, box.tell)
	}()
	defer func() { <-following }()

	f := follow{box: box}
	for pause := pollEvery; m.wait(ctx, pause, box.wake); {
		pause = m.listen(ctx, &f)
	}
}

// follow is where the loop of the push store stands.
type follow struct {
	box     *mailbox
	known   bool  // it was read whole
	whole   int64 // when that is due again, monotonic
	settled int64 // when it was last given what it lacked
}

// listen takes in the news, writes what the store lacks, and returns how long to wait.
func (m *Mirror) listen(ctx context.Context, f *follow) (pause time.Duration) {
	keys, everything, at := f.box.take()
	now := m.clock.Mono()
	everything = everything || f.known && now >= f.whole
	if err := m.hear(ctx, keys, everything); err != nil {
		f.box.putBack(keys, everything)
		m.failed(ctx, &m.told, err)
		return retrySoon
	}
	if everything {
		f.known, f.whole = true, now+int64(spread(wholeEvery))
	}
	if at != 0 && f.known {
		m.told.synced.Store(max(at, 1))
		m.reached(&m.told, everything, len(keys))
	}
	// A store that loses again whatever it is given must not make this a busy loop.
	if everything || now-f.settled >= int64(retrySoon) {
		f.settled = now
		if !m.settle(ctx, &m.told) {
			return pollEvery
		}
	}
	if m.told.owed.len() > 0 {
		return retrySoon
	}
	return pollEvery
}

// hear takes in what has changed in the push store, and notes what it has lost.
func (m *Mirror) hear(ctx context.Context, keys []string, everything bool) error {
	if everything {
		ask, cancel := context.WithTimeout(ctx, wholeTimeout)
		defer cancel()
		entries, err := m.push.Load(ask)
		if err != nil {
			return err
		}
		m.merge(entries)
		m.owe(&m.told, entries)
		return nil
	}
	for len(keys) > 0 {
		n := min(atOnce, len(keys))
		if err := m.hearOf(ctx, keys[:n]); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func (m *Mirror) hearOf(ctx context.Context, keys []string) error {
	ask, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	entries, err := m.push.Read(ask, keys)
	if err != nil {
		return err
	}
	m.merge(entries)
	held := make(map[string]Entry, len(entries))
	for _, e := range entries {
		held[e.Key] = e
	}
	for _, k := range keys {
		if e, known := m.entries.get(k); known {
			m.oweIfLost(&m.told, e, held)
		}
	}
	return nil
}

// owe notes what a store lacks that was read whole.
func (m *Mirror) owe(s *source, entries []Entry) {
	held := make(map[string]Entry, len(entries))
	for _, e := range entries {
		held[e.Key] = e
	}
	m.entries.each(func(e Entry) { m.oweIfLost(s, e, held) })
}

// lastMoments is how long before its end an entry is no longer written again: by a
// store's clock it may have ended, which would take it for lost for ever.
const lastMoments = 5

// oweIfLost notes an entry that a store does not hold, or holds a weaker one for.
func (m *Mirror) oweIfLost(s *source, e Entry, held map[string]Entry) {
	if h, ok := held[e.Key]; ok && h.Merge(e) == h || e.Expires <= m.clock.Now().Unix()+lastMoments {
		return
	}
	s.owed.add(e.Key)
}

// settle writes to a store what it lacks (SECURITY I4), and returns false if it does not
// take it.
func (m *Mirror) settle(ctx context.Context, s *source) bool {
	for {
		keys := s.owed.take(atOnce)
		if len(keys) == 0 {
			return true
		}
		entries := make([]Entry, 0, len(keys))
		for _, k := range keys {
			if e, known := m.entries.get(k); known {
				entries = append(entries, e)
			}
		}
		if entries = m.inForce(entries); len(entries) == 0 {
			continue
		}
		if !m.offer(ctx, s, entries) {
			return false
		}
	}
}

// offer gives entries to a store once more.
func (m *Mirror) offer(ctx context.Context, s *source, entries []Entry) bool {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	if err := m.give(ctx, s, entries); err != nil {
		return false
	}
	s.counts.again.Add(0, uint64(len(entries)))
	return true
}
