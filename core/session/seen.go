package session

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/suuupra/gateway/core/token"
)

// The bounds of what is remembered of access tokens that were seen.
const (
	sightingSlots = 1 << 12
	sightingQueue = 1 << 12
	sightingBatch = 256
)

// sightings learns of successors that are in use. Most requests show a token that is
// older than any open grace, and cost one atomic read; those of a fresh token cost a
// hash and a second one; only the first request with it, at each instance, costs a
// place in a queue, from which Run writes to the store. At the instance that sees it
// the grace is over at once; at the others as soon as the store has been told, some
// milliseconds later. When the queue is full, or the store away, the sighting is lost
// to the others, and the grace ends after its time alone.
type sightings struct {
	// horizon, unix seconds, is when the oldest grace that may be open began. Written
	// by Run once a second, read by every request.
	horizon atomic.Int64
	seed    maphash.Seed
	// told has, at the place that its hash gives it, the hash of a token that was
	// seen. A later one may take the place: then the first is told once more.
	told  [sightingSlots]atomic.Uint64
	queue chan Sighting
}

func newSightings() *sightings {
	return &sightings{seed: maphash.MakeSeed(), queue: make(chan Sighting, sightingQueue)}
}

// hash is never zero, which stands for an empty place.
func (s *sightings) hash(access string) uint64 { return maphash.String(s.seed, access) | 1<<63 }

// saw says whether the access token of that id is known to have been seen here.
func (s *sightings) saw(access string) bool {
	h := s.hash(access)
	return s.told[h%sightingSlots].Load() == h
}

// mark remembers an access token without telling anybody.
func (s *sightings) mark(access string) {
	h := s.hash(access)
	s.told[h%sightingSlots].Store(h)
}

// Seen tells that a good access token of our own was shown: the refresh token whose
// place its family took is over then (SECURITY I8). It is called for every request
// with one, with the token's session, id (jti) and time of issue in unix seconds. It
// does not block and does not allocate.
func (s *Sessions) Seen(session, access string, issuedAt int64) {
	if issuedAt < s.sightings.horizon.Load() || session == "" {
		return
	}
	s.sightings.see(session, access)
}

// see is kept out of Seen, so that Seen is inlined.
func (s *sightings) see(session, access string) {
	h := s.hash(access)
	place := &s.told[h%sightingSlots]
	if place.Load() == h {
		return
	}
	place.Store(h)
	select {
	case s.queue <- Sighting{session, access}:
	default:
	}
}

// Tokens verifies access tokens.
type Tokens interface {
	Access(raw []byte) (*token.Verified, error)
}

// Watching verifies as tokens does, and tells of each of our own tokens that it was
// seen: what checks the tokens of requests takes it in the place of tokens.
func (s *Sessions) Watching(tokens Tokens) Tokens { return watching{tokens, s} }

type watching struct {
	tokens   Tokens
	sessions *Sessions
}

// Access costs what that of the watched does, and an atomic read.
func (w watching) Access(raw []byte) (*token.Verified, error) {
	v, err := w.tokens.Access(raw)
	if err == nil && v.Principal.Issuer == "" {
		w.sessions.Seen(v.Principal.Session, v.ID, v.IssuedAt)
	}
	return v, err
}

// advance moves the horizon. A second is left for clocks that count whole ones, and
// another one until the next call.
func (s *sightings) advance(now time.Time, grace time.Duration) {
	s.horizon.Store(now.Add(-grace).Unix() - 2)
}

// batch takes what waits in the queue behind first.
func (s *sightings) batch(first Sighting) []Sighting {
	all := []Sighting{first}
	for len(all) < sightingBatch {
		select {
		case next := <-s.queue:
			all = append(all, next)
		default:
			return all
		}
	}
	return all
}
