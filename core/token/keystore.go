package token

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Purpose is what a signing key signs. Each purpose has keys of its own, so that a
// token of one kind can never be taken for another's, whatever its header says
// (SECURITY I7).
type Purpose string

// The purposes of signing keys. Only the keys of access tokens are published.
const (
	ForAccess   Purpose = "access"
	ForRefresh  Purpose = "refresh"
	ForInternal Purpose = "internal"
)

// StoredKey is a signing key as a store keeps it. All times are whole seconds.
type StoredKey struct {
	ID      string // kid: the thumbprint of the public key (RFC 7638)
	Purpose Purpose
	Sealed  []byte        // the private key, encrypted; a store only carries it
	Created time.Time     // when it was made, and published if it is at all
	Signs   time.Time     // from when on it signs, until the next one does
	Life    time.Duration // the longest life of a token that it signed or may sign
}

// KeyStore keeps signing keys. Both methods may be called concurrently, and by
// several processes. Where the store can't be reached their errors wrap ErrUnavailable.
type KeyStore interface {
	// Load returns all keys, in any order. The caller may change what it gets.
	Load(ctx context.Context) ([]StoredKey, error)
	// Update replaces the keys by what change makes of them, alone among all
	// processes that share the store: two of them never make a key for the same
	// need. An error of change is returned and leaves the keys as they were; change
	// may take a second, for it makes keys.
	Update(ctx context.Context, change func([]StoredKey) ([]StoredKey, error)) error
}

// MemoryKeys is a KeyStore of this process alone. The zero value is empty.
type MemoryKeys struct {
	mu   sync.Mutex
	keys []StoredKey
}

var _ KeyStore = (*MemoryKeys)(nil)

// Load returns all keys.
func (m *MemoryKeys) Load(ctx context.Context) ([]StoredKey, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return cloned(m.keys), nil
}

// Update replaces the keys by what change makes of them.
func (m *MemoryKeys) Update(ctx context.Context, change func([]StoredKey) ([]StoredKey, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	keys, err := change(cloned(m.keys))
	if err == nil {
		m.keys = cloned(keys)
	}
	return err
}

func cloned(keys []StoredKey) []StoredKey {
	out := slices.Clone(keys)
	for i := range out {
		out[i].Sealed = slices.Clone(out[i].Sealed)
	}
	return out
}
