package revocation

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// Why is why a stay was cut short.
type Why uint8

// The reasons.
const (
	Revoked Why = iota // the session or the user was revoked
	Expired            // what the caller had shown has expired
	whys
)

// String is the reason as a label.
func (w Why) String() string { return [...]string{"revoked", "expired", "?"}[min(w, whys)] }

// Guest is what lasts longer than the request by which its caller got it.
type Guest interface {
	// Cut ends it, at once and without waiting. It is called once at most, by any
	// goroutine, while Leave of its stay waits; it must not call anything of the stays.
	Cut(Why)
}

// Stay is one stream or tunnel on behalf of a caller (SECURITY I21). It is a part of its
// guest, and is entered once.
type Stay struct {
	Guest Guest
	// Session and User are those of the principal, and Keys those of ForeignKey. Any may
	// be empty.
	Session, User string
	Keys          []string
	// APIKey is the id of the API key that was shown; it may be empty.
	APIKey string
	// Issued and Expires are the token's, in unix seconds; an Expires of 0 is never.
	Issued, Expires int64
	// Stripe is any number; stays of one stripe wait for each other.
	Stripe uint32

	// All below is guarded by the ward's mutex.
	entered, left bool
	links         [3 + usualKeys]link
	more          []link // for more keys than usual
	due           link
}

// usualKeys is how many foreign keys there are at most: of a jti, and of a sid.
const usualKeys = 2

// link holds a stay in one list of its ward.
type link struct {
	stay       *Stay
	hash       uint64 // of the key that the list is for
	next, prev *link
}

// wards spread the stays, so that those who come and go hardly ever wait for each other.
const wards = 32

// Stays are what is to be closed when its caller is revoked, or when the token that opened it
// has expired. Only what lasts enters: an answer that is whole when it
// leaves costs nothing. Its methods may be called concurrently.
type Stays struct {
	mirror *Mirror
	clock  clock.Clock
	ended  func(apiKey string) bool // nil: none ever ends
	wards  [wards]ward
}

// ward holds the stays of some stripes. A revocation looks into all wards.
type ward struct {
	mu    sync.Mutex
	by    map[uint64]*link // by the hash of each key that would revoke it: lists
	until map[int64]*link  // by the second in which it expires
	n     int
	_     [64]byte // its neighbour's mutex is another line
}

func newStays(m *Mirror, c clock.Clock) *Stays {
	s := &Stays{mirror: m, clock: c}
	for i := range s.wards {
		s.wards[i].by, s.wards[i].until = map[uint64]*link{}, map[int64]*link{}
	}
	return s
}

func (s *Stays) wardOf(stay *Stay) *ward { return &s.wards[stay.Stripe%wards] }

// hang sets up a link for each key that would revoke the stay.
func (s *Stays) hang(stay *Stay) {
	t := s.mirror.entries
	if stay.Session != "" {
		stay.links[0] = link{stay: stay, hash: t.hash(stay.Session)}
	}
	if stay.User != "" {
		stay.links[1] = link{stay: stay, hash: t.hash(stay.User)}
	}
	if stay.APIKey != "" {
		stay.links[2] = link{stay: stay, hash: t.hash(stay.APIKey)}
	}
	if len(stay.Keys) > usualKeys {
		stay.more = make([]link, len(stay.Keys)-usualKeys)
	}
	for i, k := range stay.Keys {
		*stay.keyLink(i) = link{stay: stay, hash: t.hashKey(k)}
	}
}

// keyLink is the link of the foreign key i.
func (stay *Stay) keyLink(i int) *link {
	if i < usualKeys {
		return &stay.links[3+i]
	}
	return &stay.more[i-usualKeys]
}

// each calls f with each link that hang has set up.
func (stay *Stay) each(f func(*link)) {
	for i := range stay.links {
		if stay.links[i].stay != nil {
			f(&stay.links[i])
		}
	}
	for i := range stay.more {
		f(&stay.more[i])
	}
}

// Enter makes a stay known. If its caller was revoked meanwhile, or the token has
// expired, it is cut before Enter returns. One that has left already does not enter.
func (s *Stays) Enter(stay *Stay) {
	w := s.wardOf(stay)
	s.hang(stay)
	w.enter(stay)
	switch {
	// What was revoked before this is seen here, and what is revoked after it finds the stay.
	case s.refuses(stay), stay.APIKey != "" && s.ended != nil && s.ended(stay.APIKey):
		s.cut(w, stay, Revoked)
	case stay.Expires != 0 && stay.Expires <= s.clock.Now().Unix():
		s.cut(w, stay, Expired)
	}
}

// refuses says whether the caller of a stay is revoked.
func (s *Stays) refuses(stay *Stay) bool {
	return s.mirror.Revoked(stay.Session, stay.User, stay.Issued) || s.mirror.RevokedForeign(stay.Keys)
}

func (w *ward) enter(stay *Stay) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if stay.left || stay.entered {
		return
	}
	stay.entered = true
	w.n++
	stay.each(func(l *link) { put(w.by, l.hash, l) })
	if stay.Expires != 0 {
		stay.due.stay = stay
		put(w.until, stay.Expires, &stay.due)
	}
}

// put puts a link into the list of k.
func put[K comparable](lists map[K]*link, k K, l *link) {
	if l.next = lists[k]; l.next != nil {
		l.next.prev = l
	}
	lists[k] = l
}

// drop takes a link out of the list of k.
func drop[K comparable](lists map[K]*link, k K, l *link) {
	switch {
	case l.prev != nil:
		l.prev.next = l.next
	case l.next != nil:
		lists[k] = l.next
	default:
		delete(lists, k)
	}
	if l.next != nil {
		l.next.prev = l.prev
	}
}

// Leave makes a stay unknown; its guest is not cut any more when it returns. Leaving twice,
// or before having entered, is fine.
func (s *Stays) Leave(stay *Stay) {
	w := s.wardOf(stay)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leave(stay)
	stay.left = true
}

// leave is called under w.mu.
func (w *ward) leave(stay *Stay) {
	if !stay.entered || stay.left {
		return
	}
	stay.left = true
	w.n--
	stay.each(func(l *link) { drop(w.by, l.hash, l) })
	if stay.Expires != 0 {
		drop(w.until, stay.Expires, &stay.due)
	}
}

func (s *Stays) cut(w *ward, stay *Stay, why Why) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end(stay, why, s.mirror.metrics)
}

// end cuts one stay. Called under w.mu.
func (w *ward) end(stay *Stay, why Why, m *metrics) {
	if stay.left {
		return
	}
	w.leave(stay)
	m.cut[why].Add(stay.Stripe, 1)
	stay.Guest.Cut(why)
}

// revoke cuts what an entry is against, after it was merged into the mirror.
func (s *Stays) revoke(e Entry) {
	hash := s.mirror.entries.hashKey(e.Key)
	for i := range s.wards {
		s.revokeIn(&s.wards[i], hash)
	}
}

// AskKeys has Enter ask ended whether an API key is known to be no good any more: it may
// have ended after its request was let in. It is called before the first Enter; ended must
// not wait, and calls nothing of the stays.
func (s *Stays) AskKeys(ended func(id string) bool) { s.ended = ended }

// EndKey cuts all that lasts on behalf of an API key.
func (s *Stays) EndKey(id string) {
	hash := s.mirror.entries.hash(id)
	for i := range s.wards {
		s.endKeyIn(&s.wards[i], hash, id)
	}
}

func (s *Stays) endKeyIn(w *ward, hash uint64, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := w.by[hash]; l != nil; {
		next := l.next
		if l.stay.APIKey == id {
			w.end(l.stay, Revoked, s.mirror.metrics)
		}
		l = next
	}
}

// HoldsKey says whether something lasts on behalf of an API key.
func (s *Stays) HoldsKey(id string) bool {
	hash := s.mirror.entries.hash(id)
	for i := range s.wards {
		if s.wards[i].holdsKey(hash, id) {
			return true
		}
	}
	return false
}

func (w *ward) holdsKey(hash uint64, id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := w.by[hash]; l != nil; l = l.next {
		if l.stay.APIKey == id {
			return true
		}
	}
	return false
}

// Keys are the ids of all API keys on whose behalf something lasts.
func (s *Stays) Keys() []string {
	ids := map[string]bool{}
	for i := range s.wards {
		s.wards[i].keys(ids)
	}
	return slices.Collect(maps.Keys(ids))
}

func (w *ward) keys(ids map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.by {
		for ; l != nil; l = l.next {
			if l.stay.APIKey != "" {
				ids[l.stay.APIKey] = true
			}
		}
	}
}

func (s *Stays) revokeIn(w *ward, hash uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := w.by[hash]; l != nil; {
		next := l.next
		if s.refuses(l.stay) { // a hash alone may be another key's
			w.end(l.stay, Revoked, s.mirror.metrics)
		}
		l = next
	}
}

// expireEvery is how exact the end of a token is for what it opened.
const expireEvery = time.Second

// expire cuts what has expired.
func (s *Stays) expire() {
	now := s.clock.Now().Unix()
	for i := range s.wards {
		s.expireIn(&s.wards[i], now)
	}
}

func (s *Stays) expireIn(w *ward, now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, l := range w.until {
		for at <= now && l != nil {
			next := l.next
			w.end(l.stay, Expired, s.mirror.metrics)
			l = next
		}
	}
}

// Len is how many stays there are.
func (s *Stays) Len() (n int) {
	for i := range s.wards {
		s.wards[i].mu.Lock()
		n += s.wards[i].n
		s.wards[i].mu.Unlock()
	}
	return n
}
