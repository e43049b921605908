package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/token"
)

// Shown is a refresh token that somebody shows, already verified.
type Shown struct {
	Raw   []byte // as it came; borrowed
	Token *token.Verified
	// Fingerprint and Thumbprint are of what was shown with it, whether it is bound or not.
	Fingerprint, Thumbprint string
	// Scopes are those that the user may have today. The caller has just read them, and
	// that the user may log in.
	Scopes principal.Scopes
}

// rotations is how often a refresh tries anew after another one was faster. After
// the second time the token is the parent of the current one, or older.
const rotations = 3

// Refresh gives the next pair for a refresh token, which is good once (SECURITY I8).
// Its parent may be shown again until its successor is seen, for a while and with the
// same binding, and gets the same pair. Anything older has been stolen, from its owner
// or by whom he owns it: session and family end. The error is one of the package's,
// revocation.ErrNotDurable beside ErrReused among them.
func (s *Sessions) Refresh(ctx context.Context, shown Shown) (Pair, error) {
	t := shown.Token
	if t.Fingerprint != "" && t.Fingerprint != shown.Fingerprint || t.Thumbprint != "" && t.Thumbprint != shown.Thumbprint {
		return Pair{}, ErrUnbound
	}
	done, err := s.turns.take(ctx, t.Principal.Session)
	if err != nil {
		return Pair{}, err
	}
	defer done()
	for range rotations {
		r, err := s.find(ctx, t)
		if err != nil {
			return Pair{}, err
		}
		if r.Current != t.ID {
			return s.again(ctx, shown, r)
		}
		pair, done, err := s.rotate(ctx, shown, r)
		if done || err != nil {
			return pair, err
		}
	}
	return Pair{}, fmt.Errorf("%w: its session changes all the time", ErrUnavailable)
}

// find returns the session of t, if it can go on.
func (s *Sessions) find(ctx context.Context, t *token.Verified) (Record, error) {
	p := &t.Principal
	r, err := s.o.Store.Load(ctx, p.Session)
	switch {
	case err != nil:
		return r, fmt.Errorf("finding the session of a refresh token: %w", err)
	case r.User != p.User, !r.Ended.IsZero(), s.o.Revocations.Revoked(p.Session, p.User, t.IssuedAt):
		return r, ErrUnknown
	case !r.Living(s.o.Clock.Now()):
		return r, ErrExpired
	}
	return r, nil
}

// rotate issues the next pair; done is false if another refresh was faster, whose
// pair is the one that counts.
func (s *Sessions) rotate(ctx context.Context, shown Shown, r Record) (pair Pair, done bool, err error) {
	pair, err = s.issue(&r.Session, r.Scopes.Intersect(shown.Scopes))
	if errors.Is(err, token.ErrExpired) {
		return Pair{}, false, ErrExpired // the last second of the session
	}
	if err != nil {
		return Pair{}, false, err
	}
	sealed, err := seal(pair, shown.Raw, r.Current)
	if err != nil {
		return Pair{}, false, err
	}
	done, err = s.o.Store.Rotate(ctx, Rotation{
		Session: r.ID, From: r.Current, To: pair.Refresh.ID, At: s.o.Clock.Now(),
		LastExpiry: lastExpiry(pair), Access: pair.Access.ID, Sealed: sealed,
	})
	if err != nil {
		return Pair{}, false, fmt.Errorf("rotating a refresh token: %w", err)
	}
	if !done {
		return Pair{}, false, nil
	}
	return pair, true, nil
}

// again answers a refresh token that was used before.
func (s *Sessions) again(ctx context.Context, shown Shown, r Record) (Pair, error) {
	g := &r.Grace
	inGrace := g.Parent == shown.Token.ID && !g.Closed && len(g.Sealed) > 0 &&
		s.o.Clock.Now().Before(g.Since.Add(s.o.Grace)) && !s.sightings.saw(g.Access)
	if inGrace {
		return unseal(g.Sealed, shown.Raw, r.ID, g.Parent)
	}
	s.o.Log.Warn().Str("user", r.User).Str("session", r.ID).Msg("a refresh token was used twice; its session is revoked")
	if err := s.end(ctx, r.Session); err != nil {
		return Pair{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return Pair{}, ErrReused
}
