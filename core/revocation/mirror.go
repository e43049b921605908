package revocation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// Options are what a mirror is made of.
type Options struct {
	// Durable and Push are the stores; nil: there is none. Without a durable one the
	// mirror keeps a journal in Directory; without that too, revocations live as long as
	// the process, which is right where its tokens do not live longer either.
	Durable   Durable
	Push      Push
	Directory string
	// StaleLimit is how long the mirror may be out of touch with all shared stores before
	// it is not ready; 0 is for ever. ColdStartAllow makes it ready before it was in
	// touch for the first time, for as long as that (SECURITY I6).
	StaleLimit     time.Duration
	ColdStartAllow bool

	Clock clock.Clock
	Meter *meter.Set
	Log   zerolog.Logger
}

// Mirror knows all revocations in force. Its methods may be called concurrently.
type Mirror struct {
	clock   clock.Clock
	log     zerolog.Logger
	metrics *metrics
	stays   *Stays

	durable Durable // the journal, where there is no other
	push    Push
	// saved and told are what is known of the two.
	saved, told source
	// shared are those of them in which other instances write.
	shared []*source

	staleLimit     time.Duration
	coldStartAllow bool
	started        int64 // monotonic

	entries *table
	notify  []func(Entry) // written before Run only
}

// New returns a mirror that holds what the journal does, if there is one. It fails if that
// can't be read. Run keeps it in touch with the stores.
func New(o Options) (*Mirror, error) {
	m := &Mirror{
		clock: o.Clock, log: o.Log.With().Str("part", "revocation").Logger(),
		durable: o.Durable, push: o.Push,
		staleLimit: o.StaleLimit, coldStartAllow: o.ColdStartAllow,
		started: o.Clock.Mono(), entries: newTable(),
	}
	m.stays = newStays(m, o.Clock)
	m.publish(o.Meter)
	if o.Push != nil {
		m.told.write = o.Push.Publish
		m.shared = append(m.shared, &m.told)
	}
	switch {
	case o.Durable != nil:
		m.shared = append(m.shared, &m.saved)
	case o.Directory != "":
		j := newJournal(o.Directory, m.log)
		m.durable = j
		known, _, err := j.Since(context.Background(), "")
		if err != nil {
			return nil, fmt.Errorf("reading the journal of revocations: %w", err)
		}
		m.merge(known)
	}
	if m.durable != nil {
		m.saved.write = m.durable.Save
	}
	return m, nil
}

// Notify makes f hear of each entry that refuses more than was refused before,
// wherever it came from. It is called before Run, and f from many goroutines; f is
// quick.
func (m *Mirror) Notify(f func(Entry)) { m.notify = append(m.notify, f) }

// Stays is what lasts on behalf of callers, to be closed when they are revoked.
func (m *Mirror) Stays() *Stays { return m.stays }

// Revoked says whether a session is refused, or a user with what was issued at that
// unix second. Either may be empty. It takes no lock and allocates nothing.
func (m *Mirror) Revoked(session, user string, issuedAt int64) bool {
	return m.entries.refuses("", session, issuedAt) || m.entries.refuses(userPrefix, user, issuedAt)
}

// RevokedForeign says whether one of the keys that ForeignKey made is refused. It
// takes no lock and allocates nothing.
func (m *Mirror) RevokedForeign(keys []string) bool {
	for _, k := range keys {
		if _, refused := m.entries.get(k); refused {
			return true
		}
	}
	return false
}

// State says how long ago the mirror knew for certain all that one of the shared
// stores did, and whether tokens may be believed at all: not before the first
// contact, nor when the last one is too long ago (SECURITY I6). One store is enough: whoever
// revokes writes to both. Where nothing is shared, the mirror is all there is.
func (m *Mirror) State() (age time.Duration, ready bool) {
	if len(m.shared) == 0 {
		return 0, true
	}
	last := int64(0)
	for _, s := range m.shared {
		last = max(last, s.synced.Load())
	}
	ready = last != 0 || m.coldStartAllow
	if last == 0 {
		last = m.started
	}
	age = max(time.Duration(m.clock.Mono()-last), 0)
	return age, ready && (m.staleLimit == 0 || age <= m.staleLimit)
}

const (
	// saveTimeout is how long a caller waits for the durable store.
	saveTimeout = 5 * time.Second
	// publishTimeout is how long for the push store, which may be away without harm.
	publishTimeout = time.Second
)

// Revoke makes entries known here at once and to all other instances, and returns
// when the durable store has them. The error is ErrNotDurable if it has not: the
// mirror then goes on trying, but the caller must not promise anything. What has
// expired already is left out.
func (m *Mirror) Revoke(ctx context.Context, entries ...Entry) error {
	for _, e := range entries {
		if err := e.Check(); err != nil {
			return fmt.Errorf("revoking: %w", err)
		}
	}
	entries = m.inForce(entries)
	if len(entries) == 0 {
		return nil
	}
	m.merge(entries)
	var telling sync.WaitGroup
	if m.push != nil {
		telling.Go(func() { m.tell(ctx, entries) })
	}
	err := m.save(ctx, entries)
	telling.Wait()
	return err
}

// inForce leaves out what has expired.
func (m *Mirror) inForce(entries []Entry) []Entry {
	now := m.clock.Now().Unix()
	kept := make([]Entry, 0, len(entries))
	for _, e := range entries {
		if e.Expires > now {
			kept = append(kept, e)
		}
	}
	return kept
}

// save gives entries to the durable store.
func (m *Mirror) save(ctx context.Context, entries []Entry) error {
	if m.durable == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	if err := m.give(ctx, &m.saved, entries); err != nil {
		return fmt.Errorf("%w: %w", ErrNotDurable, err)
	}
	return nil
}

// tell gives entries to the push store. A caller who leaves does not take the word
// back.
func (m *Mirror) tell(ctx context.Context, entries []Entry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	_ = m.give(ctx, &m.told, entries) // the others hear of it from the durable store
}

// give writes entries to a store. What it does not take is owed to it.
func (m *Mirror) give(ctx context.Context, s *source, entries []Entry) error {
	err := s.write(ctx, entries)
	if err != nil {
		s.owed.add(keysOf(entries)...)
	}
	switch {
	case !s.counts.wrote(err):
	case err != nil:
		m.log.Warn().Err(err).Str("source", s.name).Msg("a store takes no revocations; they are offered to it again")
	default:
		m.log.Info().Str("source", s.name).Msg("a store takes revocations")
	}
	return err
}

func keysOf(entries []Entry) []string {
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = e.Key
	}
	return keys
}

// merge takes entries in, from wherever they come. It is the only way into the
// table, and makes nothing weaker (SECURITY I4).
func (m *Mirror) merge(entries []Entry) {
	now := m.clock.Now().Unix()
	for _, e := range entries {
		if e.Expires <= now {
			continue
		}
		merged, changed := m.entries.merge(e, now)
		if !changed {
			continue
		}
		m.stays.revoke(merged)
		for _, f := range m.notify {
			f(merged)
		}
	}
}

// cleanEvery is how often the mirror looks for entries whose time has come.
const cleanEvery = time.Minute

// Run keeps the mirror in touch with its stores and closes what has expired, until
// ctx is done. It is called once, and waits for all that it starts.
func (m *Mirror) Run(ctx context.Context) {
	var loops sync.WaitGroup
	defer loops.Wait()
	if m.push != nil {
		loops.Go(func() { m.followPush(ctx) })
	}
	if m.durable != nil {
		loops.Go(func() { m.pollDurable(ctx) })
	}
	loops.Go(func() { m.every(ctx, cleanEvery, func() { m.entries.expire(m.clock.Now().Unix()) }) })
	m.every(ctx, expireEvery, m.stays.expire)
}

// every calls f again and again until ctx is done.
func (m *Mirror) every(ctx context.Context, d time.Duration, f func()) {
	for m.wait(ctx, d, nil) {
		f()
	}
}

// wait waits for d or the bell, and returns false when ctx is done.
func (m *Mirror) wait(ctx context.Context, d time.Duration, bell <-chan struct{}) bool {
	timer := m.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
	case <-bell:
	}
	return ctx.Err() == nil
}

// failed notes that a store can't be asked; only the first time in a row is logged.
func (m *Mirror) failed(ctx context.Context, s *source, err error) {
	if ctx.Err() == nil && s.counts.read(err) { // else nobody asks any more
		m.log.Warn().Err(err).Str("source", s.name).Msg("a store of revocations is away; the mirror goes on with what it knows")
	}
}

// reached notes that a store was read.
func (m *Mirror) reached(s *source, whole bool, entries int) {
	if whole {
		s.counts.resyncs.Add(0, 1)
	}
	if s.counts.read(nil) {
		m.log.Info().Str("source", s.name).Int("entries", entries).Msg("the revocations of a store are known")
	}
}
