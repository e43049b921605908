package account

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"

	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/setting"
)

// Memory keeps users in memory. It may be used concurrently.
type Memory struct {
	mu    sync.Mutex
	users map[string]*kept // by id
}

// kept is a user as Memory has it.
type kept struct {
	Record
	recovery [][]byte
}

var (
	_ Store = (*Memory)(nil)
	_ Store = (*Fixed)(nil)
)

// NewMemory returns one without users.
func NewMemory() *Memory { return &Memory{users: map[string]*kept{}} }

// ByEmail is Users'.
func (m *Memory) ByEmail(_ context.Context, email string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.users { // few: they stand in a file, or a test made them
		if k.Email == email {
			return k.copy(), nil
		}
	}
	return Record{}, ErrNoUser
}

// ByID is Users'.
func (m *Memory) ByID(_ context.Context, id string) (Record, error) {
	var r Record
	err := m.of(id, func(k *kept) error {
		r = k.copy()
		return nil
	})
	return r, err
}

func (k *kept) copy() Record {
	r := k.Record
	r.Factor.Sealed = bytes.Clone(r.Factor.Sealed)
	return r
}

// of calls f with one user, under the lock.
func (m *Memory) of(id string, f func(*kept) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.users[id]
	if k == nil {
		return ErrNoUser
	}
	return f(k)
}

// Insert is Users'.
func (m *Memory) Insert(_ context.Context, r Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, k := range m.users {
		if id == r.ID || k.Email == r.Email {
			return ErrExists
		}
	}
	k := &kept{Record: r}
	k.Record = k.copy()
	m.users[r.ID] = k
	return nil
}

// List is Users'.
func (m *Memory) List(_ context.Context, after string, limit int) ([]User, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var some []User
	for id, k := range m.users {
		if id > after {
			some = append(some, k.User)
		}
	}
	slices.SortFunc(some, func(a, b User) int { return cmp.Compare(a.ID, b.ID) })
	return some[:min(limit, len(some))], nil
}

// SetPassword is Changes'.
func (m *Memory) SetPassword(_ context.Context, id string, was, now setting.Secret) error {
	return m.of(id, func(k *kept) error {
		if k.Hash.Reveal() != was.Reveal() {
			return ErrChanged
		}
		k.Hash = now
		return nil
	})
}

// SetActive is Changes'.
func (m *Memory) SetActive(_ context.Context, id string, active bool) error {
	return m.of(id, func(k *kept) error {
		k.Active = active
		return nil
	})
}

// Enrol is Factors'.
func (m *Memory) Enrol(_ context.Context, id string, sealed []byte) error {
	return m.of(id, func(k *kept) error {
		if k.MFA {
			return ErrEnrolled
		}
		k.Factor = Factor{Sealed: bytes.Clone(sealed)}
		return nil
	})
}

// Confirm is Factors'.
func (m *Memory) Confirm(_ context.Context, id string, c Confirmation) error {
	return m.of(id, func(k *kept) error {
		if k.MFA || len(c.Sealed) == 0 || !bytes.Equal(k.Factor.Sealed, c.Sealed) {
			return ErrNotEnrolled
		}
		k.MFA, k.Factor.Step, k.recovery = true, c.Step, slices.Clone(c.Recovery)
		return nil
	})
}

// Spend is Factors'.
func (m *Memory) Spend(_ context.Context, id string, c Code) (fresh bool, err error) {
	err = m.of(id, func(k *kept) error {
		if !k.MFA {
			return nil
		}
		if c.Recovery == nil {
			if fresh = c.Step > k.Factor.Step; fresh {
				k.Factor.Step = c.Step
			}
			return nil
		}
		before := len(k.recovery)
		k.recovery = slices.DeleteFunc(k.recovery, func(hash []byte) bool { return bytes.Equal(hash, c.Recovery) })
		fresh = len(k.recovery) < before
		return nil
	})
	return fresh, err
}

// Remove is Factors'.
func (m *Memory) Remove(_ context.Context, id string) error {
	return m.of(id, func(k *kept) error {
		k.MFA, k.Factor, k.recovery = false, Factor{}, nil
		return nil
	})
}

// Listed is a user as the configuration lists one.
type Listed struct {
	Email  string
	Hash   setting.Secret // as CheckHash wants it
	Scopes principal.Scopes
	TOTP   setting.Secret // base32; empty: no second factor
}

// Fixed are the users of the configuration: nothing of them is changed but by Replace,
// and which steps of their codes are used up, which is known until a restart.
type Fixed struct{ users *Memory }

// NewFixed returns the users that are listed. An error names the user, by e-mail, and
// holds no secret.
func NewFixed(users []Listed) (*Fixed, error) {
	f := &Fixed{users: NewMemory()}
	for _, l := range users {
		email, err := CanonicalEmail(l.Email)
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", l.Email, err)
		}
		if err := CheckHash(l.Hash.Reveal()); err != nil {
			return nil, fmt.Errorf("user %q: %w", l.Email, err)
		}
		if !l.TOTP.IsZero() {
			if err := CheckTOTP(l.TOTP.Reveal()); err != nil {
				return nil, fmt.Errorf("user %q: %w", l.Email, err)
			}
		}
		// The id must be the same after a restart and at every instance, for tokens name it.
		sum := sha256.Sum256([]byte("user of the configuration\x00" + email))
		r := Record{
			User:   User{ID: base64.RawURLEncoding.EncodeToString(sum[:16]), Email: email, Scopes: l.Scopes, Active: true, MFA: !l.TOTP.IsZero()},
			Hash:   l.Hash,
			Factor: Factor{Plain: l.TOTP},
		}
		if err := f.users.Insert(context.Background(), r); err != nil {
			return nil, fmt.Errorf("user %q: %w", l.Email, err)
		}
	}
	return f, nil
}

// Replace takes the users of next, which nobody uses yet, in place of its own. It returns
// the ids of those who must prove anew who they are: they are gone, or their password or
// second factor is another. Codes that are used up stay so.
func (f *Fixed) Replace(next *Fixed) (changed []string) {
	f.users.mu.Lock()
	defer f.users.mu.Unlock()
	for id, was := range f.users.users {
		is := next.users.users[id]
		switch {
		case is == nil || is.Hash.Reveal() != was.Hash.Reveal() || is.Factor.Plain.Reveal() != was.Factor.Plain.Reveal():
			changed = append(changed, id)
		default:
			is.Factor.Step = was.Factor.Step
		}
	}
	f.users.users = next.users.users
	slices.Sort(changed)
	return changed
}

// CheckTOTP says whether text is a TOTP secret, in base32; the error holds nothing of it.
func CheckTOTP(text string) error {
	_, err := readSecret(text)
	return err
}

// ByEmail is Users'.
func (f *Fixed) ByEmail(ctx context.Context, email string) (Record, error) {
	return f.users.ByEmail(ctx, email)
}

// ByID is Users'.
func (f *Fixed) ByID(ctx context.Context, id string) (Record, error) { return f.users.ByID(ctx, id) }

// List is Users'.
func (f *Fixed) List(ctx context.Context, after string, limit int) ([]User, error) {
	return f.users.List(ctx, after, limit)
}

// Spend is Factors'.
func (f *Fixed) Spend(ctx context.Context, id string, c Code) (fresh bool, err error) {
	return f.users.Spend(ctx, id, c)
}

// Insert returns ErrFixed.
func (*Fixed) Insert(context.Context, Record) error { return ErrFixed }

// SetPassword returns ErrFixed.
func (*Fixed) SetPassword(context.Context, string, setting.Secret, setting.Secret) error {
	return ErrFixed
}

// SetActive returns ErrFixed.
func (*Fixed) SetActive(context.Context, string, bool) error { return ErrFixed }

// Enrol returns ErrFixed.
func (*Fixed) Enrol(context.Context, string, []byte) error { return ErrFixed }

// Confirm returns ErrFixed.
func (*Fixed) Confirm(context.Context, string, Confirmation) error { return ErrFixed }

// Remove returns ErrFixed.
func (*Fixed) Remove(context.Context, string) error { return ErrFixed }
