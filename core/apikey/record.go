package apikey

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/suuupra/gateway/core/principal"
)

// maxVersions is how many secrets of a key a record keeps: the one in use, the one
// that overlaps, and two that have ended, so that their holders hear "expired".
const maxVersions = 4

// maxText is the longest name, client, user and policy, in bytes (SECURITY I3).
const maxText = 255

// maxAllowFrom bounds the prefixes that a key may be used from.
const maxAllowFrom = 256

// Record is all that a store knows of a key. It is a copy; change it freely.
type Record struct {
	ID        string
	Name      string
	Client    string // id of the owner; may be empty if User is set
	User      string
	Scopes    []string
	Policy    string
	AllowFrom []netip.Prefix // empty: from anywhere
	Expires   int64          // unix seconds; 0: never
	Active    bool
	Versions  []Version // ascending; the last one is in use, the one before it may overlap
	Created   int64     // unix seconds
	LastUsed  int64     // unix seconds, as of the last flush of usage; 0: never
	// Revision grows with every change of the key or of its owner. Of two records the
	// one with the greater revision is right.
	Revision int64
	// Owner is the client as the store has it; Load and List fill it. Without a client
	// it says nothing.
	Owner Owner
}

// Version is one secret of a key.
type Version struct {
	Number  int // from 1
	Hash    Hash
	Created int64 // unix seconds
	Until   int64 // unix seconds; 0: as long as the key
}

// Owner is what of a client, or of a user, caps its keys.
type Owner struct {
	Active bool
	Scopes []string
	Policy string
}

// Check says what is wrong with the record, or nil: form only, nothing is looked up. It is what
// stores are asked to take, and what is believed of what they return. Errors wrap
// ErrInvalid.
func (r *Record) Check() error {
	if err := CheckID(r.ID); err != nil {
		return err
	}
	if err := r.checkTexts(); err != nil {
		return fmt.Errorf("key %s: %w", r.ID, err)
	}
	if _, err := r.scopes(); err != nil {
		return fmt.Errorf("key %s: %w: %w", r.ID, ErrInvalid, err)
	}
	if r.Expires < 0 || r.Revision < 0 || len(r.AllowFrom) > maxAllowFrom {
		return fmt.Errorf("key %s: %w: a negative date or revision, or more than %d prefixes", r.ID, ErrInvalid, maxAllowFrom)
	}
	for _, p := range r.AllowFrom {
		if !p.IsValid() || p != p.Masked() {
			return fmt.Errorf("key %s: %w: %s is no prefix, or has bits set behind its length", r.ID, ErrInvalid, p)
		}
	}
	return r.checkVersions()
}

func (r *Record) checkTexts() error {
	if !visible(r.Client) || !visible(r.User) || !visible(r.Policy) {
		return fmt.Errorf("%w: client, user and policy are at most %d characters of visible ASCII", ErrInvalid, maxText)
	}
	if r.Client == "" && r.User == "" {
		return fmt.Errorf("%w: it belongs to a client, a user, or both", ErrInvalid)
	}
	return checkName(r.Name)
}

func (r *Record) checkVersions() error {
	if len(r.Versions) == 0 || len(r.Versions) > maxVersions {
		return fmt.Errorf("key %s: %w: it has %d secrets, want 1 to %d", r.ID, ErrInvalid, len(r.Versions), maxVersions)
	}
	last := 0
	for _, v := range r.Versions {
		if v.Number <= last || v.Until < 0 || v.Hash == (Hash{}) {
			return fmt.Errorf("key %s: %w: version %d is out of order, or has no hash", r.ID, ErrInvalid, v.Number)
		}
		last = v.Number
	}
	return nil
}

// checkName wants text that a terminal and a log can show.
func checkName(name string) error {
	if len(name) > maxText {
		return fmt.Errorf("%w: a name has at most %d bytes", ErrInvalid, maxText)
	}
	for _, c := range name {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == '\uFFFD' || c == '\u2028' || c == '\u2029' {
			return fmt.Errorf("%w: a name holds a control character, or is no UTF-8", ErrInvalid)
		}
	}
	return nil
}

// visible says whether s can stand in a header (SECURITY I3); "" can.
func visible(s string) bool {
	return len(s) <= maxText && !slices.ContainsFunc([]byte(s), func(c byte) bool { return c <= ' ' || c >= 0x7f })
}

// scopes are what the key may do: its own, within those of its client.
func (r *Record) scopes() (principal.Scopes, error) {
	own, err := principal.NewScopes(r.Scopes)
	if err != nil || r.Client == "" {
		return own, err
	}
	atMost, err := principal.NewScopes(r.Owner.Scopes)
	if err != nil {
		return principal.Scopes{}, fmt.Errorf("client %s: %w", r.Client, err)
	}
	return own.Intersect(atMost), nil
}

// key is what whoever shows a version's secret gets.
func (r *Record) key(v Version, scopes principal.Scopes) *Key {
	k := &Key{
		Principal: principal.Principal{
			User: r.User, Client: r.Client, Key: r.ID,
			Policy: r.Policy, Scopes: scopes, Shown: principal.Key,
		},
		Name: r.Name, Version: v.Number, AllowFrom: r.AllowFrom, Expires: r.Expires,
	}
	if k.Principal.Policy == "" && r.Client != "" {
		k.Principal.Policy = r.Owner.Policy
	}
	if v.Until != 0 && (k.Expires == 0 || v.Until < k.Expires) {
		k.Expires = v.Until
	}
	return k
}

// active says whether neither the key nor its owner was switched off.
func (r *Record) active() bool { return r.Active && r.Owner.Active }

// clone returns a copy that shares nothing with r.
func (r *Record) clone() Record {
	c := *r
	c.Scopes, c.AllowFrom = slices.Clone(r.Scopes), slices.Clone(r.AllowFrom)
	c.Versions, c.Owner.Scopes = slices.Clone(r.Versions), slices.Clone(r.Owner.Scopes)
	return c
}
