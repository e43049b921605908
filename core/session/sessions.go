package session

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/token"
)

// Signer issues tokens.
type Signer interface {
	Access(token.Grant) (token.Signed, error)
	Refresh(token.Grant) (token.Signed, error)
}

// Revocations makes all instances refuse the access tokens that a session has issued.
type Revocations interface {
	// Revoke returns revocation.ErrNotDurable if no store took entries that would survive.
	Revoke(ctx context.Context, entries ...revocation.Entry) error
	// Revoked says what this instance knows.
	Revoked(session, user string, issuedAt int64) bool
}

// Options are what sessions are made of.
type Options struct {
	Store       Store
	Signer      Signer
	Revocations Revocations
	Lifetime    time.Duration // of a session, whatever is refreshed
	Grace       time.Duration // how long, at most, a refresh token may be shown again
	Refresh     time.Duration // how long a refresh token lives: the longest of all tokens
	Leeway      time.Duration // how long after its time a token may still be taken
	PerUser     int           // living sessions; the oldest end beyond it
	Clock       clock.Clock
	Log         zerolog.Logger
}

// Sessions begins, refreshes and ends sessions. It may be used concurrently, and by
// several instances with one store.
type Sessions struct {
	o         Options
	sightings *sightings
	turns     turns
}

// New returns sessions that are kept in o.Store. It starts nothing.
func New(o Options) *Sessions {
	return &Sessions{o: o, sightings: newSightings(), turns: turns{taken: map[string]chan struct{}{}}}
}

// Start is what a session begins with.
type Start struct {
	User, Client            string
	Scopes                  principal.Scopes
	Fingerprint, Thumbprint string // what its tokens are bound to
	Agent, Address          string // for the user's own list
}

// idSize is the random bytes of a session's id (SECURITY I21).
const idSize = 16

// Begin starts a session for a user who has just proved who he is. The oldest of his
// sessions end if he has too many.
func (s *Sessions) Begin(ctx context.Context, start Start) (Pair, error) {
	raw := make([]byte, idSize)
	_, _ = rand.Read(raw) // never fails; it ends the process instead
	now := s.o.Clock.Now()
	r := Record{Session: Session{
		ID: base64.RawURLEncoding.EncodeToString(raw), User: start.User, Client: start.Client, Scopes: start.Scopes,
		Fingerprint: start.Fingerprint, Thumbprint: start.Thumbprint, Agent: start.Agent, Address: start.Address,
		Created: now, Used: now, Ends: now.Add(s.o.Lifetime),
	}}
	pair, err := s.issue(&r.Session, start.Scopes)
	if err != nil {
		return Pair{}, err
	}
	r.Current, r.LastExpiry = pair.Refresh.ID, lastExpiry(pair)
	ended, err := s.o.Store.Begin(ctx, r, s.o.PerUser)
	if err != nil {
		return Pair{}, fmt.Errorf("keeping a session: %w", err)
	}
	s.sightings.mark(pair.Access.ID) // it opens no grace
	if err := s.revoke(ctx, ended...); err != nil {
		s.o.Log.Error().Err(err).Str("user", start.User).Msg("a session ended because its user has too many; its access token may be taken elsewhere until it expires")
	}
	return pair, nil
}

// issue signs the pair of a session.
func (s *Sessions) issue(of *Session, scopes principal.Scopes) (Pair, error) {
	grant := token.Grant{
		User: of.User, Client: of.Client, Session: of.ID, Scopes: scopes,
		Fingerprint: of.Fingerprint, Thumbprint: of.Thumbprint, NotAfter: of.Ends,
	}
	access, err := s.o.Signer.Access(grant)
	if err != nil {
		return Pair{}, fmt.Errorf("issuing an access token: %w", err)
	}
	refresh, err := s.o.Signer.Refresh(grant)
	if err != nil {
		return Pair{}, fmt.Errorf("issuing a refresh token: %w", err)
	}
	return Pair{Session: of.ID, Scope: scopes.String(), Access: access, Refresh: refresh}, nil
}

func lastExpiry(p Pair) time.Time {
	if p.Access.Expires.After(p.Refresh.Expires) {
		return p.Access.Expires
	}
	return p.Refresh.Expires
}

// List returns the living sessions of a user, the oldest first.
func (s *Sessions) List(ctx context.Context, user string) ([]Session, error) {
	list, err := s.o.Store.List(ctx, user, s.o.Clock.Now())
	if err != nil {
		return nil, fmt.Errorf("listing the sessions of a user: %w", err)
	}
	return list, nil
}

// End ends one session; that it has ended before is fine. ErrUnknown says that there
// is none, or that it is not the user's; an empty user is anybody. When it returns
// nil, a durable store has the revocation (SECURITY I6).
func (s *Sessions) End(ctx context.Context, user, id string) error {
	r, err := s.o.Store.Load(ctx, id)
	if err != nil {
		return fmt.Errorf("finding a session to end: %w", err)
	}
	if user != "" && user != r.User {
		return fmt.Errorf("finding a session to end: %w: it is another user's", ErrUnknown)
	}
	return s.end(ctx, r.Session)
}

// EndOf ends the session that a token of our own belongs to, as End does. If nothing
// is known of the session any more, its tokens are refused all the same.
func (s *Sessions) EndOf(ctx context.Context, v *token.Verified) error {
	p := &v.Principal
	err := s.End(ctx, p.User, p.Session)
	if !errors.Is(err, ErrUnknown) {
		return err
	}
	last := s.o.Clock.Now().Add(s.o.Refresh)
	if expires := time.Unix(v.Expires, 0); expires.After(last) {
		last = expires
	}
	return s.revoke(ctx, Session{ID: p.Session, LastExpiry: last})
}

// end revokes first: what dies between the two steps has then ended for all who look
// at revocations, and a refresh is one of them. Neither step's failure keeps the other
// from being tried.
func (s *Sessions) end(ctx context.Context, known Session) error {
	revoking := s.revoke(ctx, known)
	ended, err := s.o.Store.End(ctx, Selection{User: known.User, ID: known.ID}, s.o.Clock.Now())
	if err != nil {
		return errors.Join(revoking, fmt.Errorf("ending a session: %w", err))
	}
	if len(ended) == 1 && ended[0].LastExpiry.After(known.LastExpiry) { // it was refreshed meanwhile
		revoking = s.revoke(ctx, ended...)
	}
	return revoking
}

// EndAll ends every session of a user, and whatever was issued to him before now
// (SECURITY I5). When it returns nil, a durable store has the revocations.
func (s *Sessions) EndAll(ctx context.Context, user string) error {
	now := s.o.Clock.Now()
	revoking := s.o.Revocations.Revoke(ctx, revocation.Entry{
		Key: revocation.UserKey(user), NotBefore: now.Unix(), Expires: s.refusedUntil(now.Add(s.o.Refresh)),
	})
	return errors.Join(revoking, s.endSelected(ctx, Selection{User: user}))
}

// EndOthers ends every session of a user but one.
func (s *Sessions) EndOthers(ctx context.Context, user, except string) error {
	return s.endSelected(ctx, Selection{User: user, Except: except})
}

func (s *Sessions) endSelected(ctx context.Context, which Selection) error {
	ended, err := s.o.Store.End(ctx, which, s.o.Clock.Now())
	if err != nil {
		return fmt.Errorf("ending the sessions of a user: %w", err)
	}
	return s.revoke(ctx, ended...)
}

// revoke has all instances refuse what sessions have issued.
func (s *Sessions) revoke(ctx context.Context, sessions ...Session) error {
	if len(sessions) == 0 {
		return nil
	}
	entries := make([]revocation.Entry, len(sessions))
	for i := range sessions {
		entries[i] = revocation.Entry{Key: revocation.SessionKey(sessions[i].ID), Expires: s.refusedUntil(sessions[i].LastExpiry)}
	}
	if err := s.o.Revocations.Revoke(ctx, entries...); err != nil {
		return fmt.Errorf("revoking sessions: %w", err)
	}
	return nil
}

// refusedUntil is how long a revocation is kept for tokens that expire at last
// (SECURITY I5).
func (s *Sessions) refusedUntil(last time.Time) int64 {
	return last.Add(s.o.Leeway + time.Minute).Unix()
}

// The times of Run.
const (
	horizonEvery = time.Second
	forgetEvery  = time.Minute
)

// Run tells the store of successors that were seen, and has it forget what is over,
// until ctx ends.
func (s *Sessions) Run(ctx context.Context) {
	timer := s.o.Clock.NewTimer(0)
	defer timer.Stop()
	var forget time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-s.sightings.queue:
			if err := s.o.Store.Seen(ctx, s.sightings.batch(first)); err != nil {
				s.o.Log.Warn().Err(err).Msg("refresh tokens whose successors are in use may be shown again until their grace ends")
			}
		case <-timer.C():
			now := s.o.Clock.Now()
			s.sightings.advance(now, s.o.Grace)
			if !now.Before(forget) {
				forget = now.Add(forgetEvery)
				s.forget(ctx, now)
			}
			timer.Reset(horizonEvery)
		}
	}
}

func (s *Sessions) forget(ctx context.Context, now time.Time) {
	if err := s.o.Store.Forget(ctx, now.Add(-s.o.Leeway-time.Minute), now.Add(-s.o.Grace)); err != nil {
		s.o.Log.Warn().Err(err).Msg("sessions that are over could not be forgotten; it is tried again")
	}
}
