package ticket

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/token"
)

// Life is how long a ticket is good.
const Life = 30 * time.Second

// size is the random bytes of a ticket.
const size = 32

// length is that of a ticket as its owner sees it.
const length = (size*8 + 5) / 6

// ErrUnavailable says that the store of tickets can't be reached.
var ErrUnavailable = errors.New("the store of tickets can't be reached")

// Store keeps what tickets stand for, until they are taken. Errors wrap
// ErrUnavailable. Implementations may be called concurrently, by several instances.
type Store interface {
	// Put keeps value under key, for life at most.
	Put(ctx context.Context, key string, value []byte, life time.Duration) error
	// Take returns and removes what is kept under key in one step, so that of several
	// callers one gets it; nil if there is nothing.
	Take(ctx context.Context, key string) ([]byte, error)
}

// Options are what tickets are made of.
type Options struct {
	Store Store
	// Timeout is how long Redeem, which an ordinary request waits for, may take.
	Timeout time.Duration
	Clock   clock.Clock
}

// Tickets issues and redeems tickets. It may be used concurrently.
type Tickets struct{ o Options }

// New returns tickets; it starts nothing.
func New(o Options) *Tickets { return &Tickets{o} }

// kept is what a ticket stands for, as the store has it.
type kept struct {
	Path       string   `json:"path"`
	User       string   `json:"user,omitempty"`
	Client     string   `json:"client"`
	Session    string   `json:"session,omitempty"`
	Policy     string   `json:"policy,omitempty"`
	Scopes     []string `json:"scopes,omitempty"`
	TokenID    string   `json:"tokenId"`
	KeyID      string   `json:"keyId"`
	Issued     int64    `json:"issued"`
	Expires    int64    `json:"expires"`
	Thumbprint string   `json:"thumbprint,omitempty"`
	Until      int64    `json:"until"` // unix milliseconds: the ticket's own end
}

// Issue returns a ticket for one request of path, which is canonical, in the name of v,
// a token of our own. ErrUnavailable.
func (t *Tickets) Issue(ctx context.Context, v *token.Verified, path string) (string, error) {
	raw := make([]byte, size)
	_, _ = rand.Read(raw) // never fails; it ends the process instead
	ticket := base64.RawURLEncoding.EncodeToString(raw)
	p := &v.Principal
	value, err := json.Marshal(kept{
		Path: path, User: p.User, Client: p.Client, Session: p.Session, Policy: p.Policy, Scopes: p.Scopes.List(),
		TokenID: v.ID, KeyID: v.KeyID, Issued: v.IssuedAt, Expires: v.Expires, Thumbprint: v.Thumbprint,
		Until: t.o.Clock.Now().Add(Life).UnixMilli(),
	})
	if err != nil {
		return "", fmt.Errorf("writing a ticket: %w", err)
	}
	if err := t.o.Store.Put(ctx, keyOf(ticket), value, Life); err != nil {
		return "", fmt.Errorf("keeping a ticket: %w", err)
	}
	return ticket, nil
}

// keyOf is what a ticket is kept under: who reads the store finds no ticket there.
func keyOf(ticket string) string {
	sum := sha256.Sum256([]byte(ticket))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Redeem returns what a ticket stands for and uses it up, also when the path is the
// wrong one: who tries paths has one try. Both are borrowed. What it returns is as the
// token was that asked for the ticket; bound to the same certificate, but not to a
// fingerprint, for who needs tickets can't show one. Errors wrap token.ErrInvalid,
// token.ErrExpired or token.ErrUnavailable.
func (t *Tickets) Redeem(ticket, path []byte) (*token.Verified, error) {
	if len(ticket) != length {
		return nil, fmt.Errorf("%w: it has the length of no ticket", token.ErrInvalid)
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.o.Timeout)
	defer cancel()
	value, err := t.o.Store.Take(ctx, keyOf(string(ticket)))
	if err != nil {
		return nil, fmt.Errorf("taking a ticket: %w: %w", token.ErrUnavailable, err)
	}
	if value == nil {
		return nil, fmt.Errorf("%w: there is no such ticket, or it was used", token.ErrInvalid)
	}
	var k kept
	if err := json.Unmarshal(value, &k); err != nil {
		return nil, fmt.Errorf("reading a ticket: %w: %w", token.ErrUnavailable, err)
	}
	scopes, err := principal.NewScopes(k.Scopes)
	if err != nil {
		return nil, fmt.Errorf("reading a ticket: %w: %w", token.ErrUnavailable, err)
	}
	now := t.o.Clock.Now()
	switch {
	case now.UnixMilli() >= k.Until, now.Unix() >= k.Expires:
		return nil, fmt.Errorf("%w: the ticket is too old", token.ErrExpired)
	case k.Path != string(path):
		return nil, fmt.Errorf("%w: the ticket is for another path", token.ErrInvalid)
	}
	return &token.Verified{
		Principal: principal.Principal{
			User: k.User, Client: k.Client, Session: k.Session, Policy: k.Policy, Scopes: scopes, Shown: principal.Ticket,
		},
		ID: k.TokenID, KeyID: k.KeyID, IssuedAt: k.Issued, Expires: k.Expires, Thumbprint: k.Thumbprint,
	}, nil
}
