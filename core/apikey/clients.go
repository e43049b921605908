package apikey

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"golang.org/x/crypto/bcrypt"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/principal"
)

// Client is an application: it owns keys, and caps them. It is a copy.
type Client struct {
	ID           string // a UUID, or its name in the configuration
	Name         string
	SecretHash   string // bcrypt; "": it has no secret
	Scopes       []string
	Policy       string
	RedirectURIs []string
	Active       bool
	Created      int64 // unix seconds
	Updated      int64 // unix seconds
}

// ClientStore is where clients live. Methods may be called concurrently. Errors
// wrap ErrUnavailable if it can't be reached, and what each method says otherwise.
type ClientStore interface {
	// CreateClient keeps a new client. ErrExists.
	CreateClient(ctx context.Context, c Client) error
	// ListClients returns all clients, by name and id.
	ListClients(ctx context.Context) ([]Client, error)
	// SwitchClient makes a client active or not, gives its keys new revisions and tells
	// the watchers, all or nothing. ErrNoClient.
	SwitchClient(ctx context.Context, id string, active bool) error
}

// Clients makes and lists clients. Its methods may be called concurrently.
type Clients struct {
	store ClientStore
	clock clock.Clock
}

// NewClients returns the clients of a store.
func NewClients(store ClientStore, c clock.Clock) *Clients { return &Clients{store, c} }

// NewClient is what a client is made of. Without scopes it may do nothing, and
// neither may its keys.
type NewClient struct {
	Name         string
	Scopes       []string
	Policy       string
	RedirectURIs []string
}

// bcryptCost makes one check take about 60 ms; a secret of 256 random bits would need none of
// it, but secrets that people chose are in the same column.
const bcryptCost = 10

// maxRedirects bounds the redirect URIs of a client.
const maxRedirects = 64

// Create makes a client and returns its secret, which nobody can see again. Errors
// wrap ErrInvalid, ErrExists or ErrUnavailable.
func (c *Clients) Create(ctx context.Context, n NewClient) (secret string, client Client, err error) {
	now := c.clock.Now().Unix()
	client = Client{
		ID: randomUUID(), Name: n.Name, Scopes: slices.Clone(n.Scopes), Policy: n.Policy,
		RedirectURIs: slices.Clone(n.RedirectURIs), Active: true, Created: now, Updated: now,
	}
	if err := client.Check(); err != nil {
		return "", Client{}, fmt.Errorf("creating a client: %w", err)
	}
	secret = randomBase62(secretSize)
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcryptCost)
	if err != nil {
		return "", Client{}, fmt.Errorf("creating a client: %w: hashing its secret: %w", ErrInvalid, err)
	}
	client.SecretHash = string(hash)
	if err := c.store.CreateClient(ctx, client); err != nil {
		return "", Client{}, fmt.Errorf("creating client %s: %w", client.Name, err)
	}
	return secret, client, nil
}

// List returns all clients, by name. Errors wrap ErrUnavailable.
func (c *Clients) List(ctx context.Context) ([]Client, error) {
	all, err := c.store.ListClients(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the clients: %w", err)
	}
	return all, nil
}

// Disable switches a client off, and with it all its keys, everywhere within a
// second. To do it twice is no error. Errors wrap ErrNoClient or ErrUnavailable.
func (c *Clients) Disable(ctx context.Context, id string) error {
	if err := c.store.SwitchClient(ctx, id, false); err != nil {
		return fmt.Errorf("disabling client %.64q: %w", id, err)
	}
	return nil
}

// Enable undoes Disable.
func (c *Clients) Enable(ctx context.Context, id string) error {
	if err := c.store.SwitchClient(ctx, id, true); err != nil {
		return fmt.Errorf("enabling client %.64q: %w", id, err)
	}
	return nil
}

// Check says what is wrong with the client, or nil. Errors wrap ErrInvalid and hold
// nothing of its secret.
func (c *Client) Check() error {
	if c.ID == "" || !visible(c.ID) || !visible(c.Policy) {
		return fmt.Errorf("client %.64q: %w: id and policy are at most %d characters of visible ASCII", c.ID, ErrInvalid, maxText)
	}
	if c.Name == "" {
		return fmt.Errorf("client %s: %w: it has no name", c.ID, ErrInvalid)
	}
	if err := checkName(c.Name); err != nil {
		return fmt.Errorf("client %s: %w", c.ID, err)
	}
	if _, err := principal.NewScopes(c.Scopes); err != nil {
		return fmt.Errorf("client %s: %w: %w", c.ID, ErrInvalid, err)
	}
	if len(c.RedirectURIs) > maxRedirects || slices.ContainsFunc(c.RedirectURIs, func(u string) bool { return u == "" || len(u) > 2048 || !visible(u[:min(len(u), maxText)]) }) {
		return fmt.Errorf("client %s: %w: at most %d redirect URIs of at most 2048 bytes", c.ID, ErrInvalid, maxRedirects)
	}
	if c.SecretHash != "" {
		if _, err := bcrypt.Cost([]byte(c.SecretHash)); err != nil {
			return fmt.Errorf("client %s: %w: its secret_hash is no bcrypt hash; `gateway hash` makes one", c.ID, ErrInvalid)
		}
	}
	return nil
}

// randomUUID is a UUID of version 4 (RFC 9562 §5.4).
func randomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
