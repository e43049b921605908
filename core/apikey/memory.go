package apikey

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is the store of one machine: the keys and clients of the configuration,
// and what was made since. All of it but the configuration dies with the process.
// Its methods may be called concurrently.
type Memory struct {
	mu       sync.Mutex
	keys     map[string]Record
	clients  map[string]Client
	revision int64 // the greatest one that any key ever had
	watchers map[int]chan change
	watched  int                // numbers the watchers
	usage    map[UsageRow]Usage // by rows whose Usage is zero
	lastUsed map[string]int64   // by key
	batches  map[string]bool    // of usage, that were added
}

var (
	_ Store       = (*Memory)(nil)
	_ ClientStore = (*Memory)(nil)
)

// change is what a watcher is told.
type change struct {
	id       string
	revision int64
}

// maxWaiting is how many changes wait for one watcher; one that can't follow is
// told to look at everything.
const maxWaiting = 1024

// maxMemoryUsage bounds the rows of usage in memory: the oldest hours go first.
const maxMemoryUsage = 1 << 16

// NewMemory returns a store of these keys and clients. Errors wrap ErrInvalid,
// ErrExists or ErrNoClient, and are about the first that is wrong.
func NewMemory(keys []Record, clients []Client) (*Memory, error) {
	m := &Memory{keys: map[string]Record{}, clients: map[string]Client{}, watchers: map[int]chan change{}, usage: map[UsageRow]Usage{}, lastUsed: map[string]int64{}, batches: map[string]bool{}}
	if err := m.Configure(keys, clients); err != nil {
		return nil, err
	}
	return m, nil
}

// Configure puts the keys and clients of a new configuration in place of all that
// there are, or changes nothing. Keys that are not what they were are pushed.
func (m *Memory) Configure(keys []Record, clients []Client) error {
	byID := make(map[string]Client, len(clients))
	for i := range clients {
		c := clients[i]
		if err := c.Check(); err != nil {
			return err
		}
		if _, twice := byID[c.ID]; twice {
			return fmt.Errorf("client %s: %w", c.ID, ErrExists)
		}
		byID[c.ID] = c.clone()
	}
	kept := make(map[string]Record, len(keys))
	for i := range keys {
		r := keys[i].clone()
		if err := r.Check(); err != nil {
			return err
		}
		if _, twice := kept[r.ID]; twice {
			return fmt.Errorf("key %s: %w", r.ID, ErrExists)
		}
		if _, known := byID[r.Client]; !known && r.Client != "" {
			return fmt.Errorf("key %s: client %s: %w", r.ID, r.Client, ErrNoClient)
		}
		kept[r.ID] = r
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.replace(kept, byID)
	return nil
}

// replace is Configure, under mu. All that was there, and all that is, gets a new
// revision: a reload is rare, and reading a key again costs a map.
func (m *Memory) replace(keys map[string]Record, clients map[string]Client) {
	m.revision++
	gone := m.keys
	m.keys, m.clients = keys, clients
	for id, r := range keys {
		r.Revision = m.revision
		keys[id] = r
		m.push(id, r.Revision)
	}
	for id := range gone {
		if _, there := keys[id]; !there {
			delete(m.lastUsed, id)
			m.push(id, m.revision)
		}
	}
}

// push tells all watchers; it is called under mu and never waits.
func (m *Memory) push(id string, revision int64) {
	for _, w := range m.watchers {
		select {
		case w <- change{id, revision}:
		default:
			for len(w) > 0 { // it missed some: it will look at everything
				select {
				case <-w:
				default:
				}
			}
			w <- change{}
		}
	}
}

// Watch calls changed for each change until ctx is done.
func (m *Memory) Watch(ctx context.Context, changed func(id string, revision int64)) {
	told := make(chan change, maxWaiting)
	m.mu.Lock()
	m.watched++
	number := m.watched
	m.watchers[number] = told
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, number)
	}()
	changed("", 0)
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-told:
			changed(c.id, c.revision)
		}
	}
}

// owner fills in what of the client caps the key; it is called under mu.
func (m *Memory) owner(r Record) Record {
	r = r.clone()
	r.Owner = Owner{Active: true}
	if r.Client != "" {
		c := m.clients[r.Client]
		r.Owner = Owner{Active: c.Active, Scopes: slices.Clone(c.Scopes), Policy: c.Policy}
	}
	r.LastUsed = m.lastUsed[r.ID]
	return r
}

// Load returns a key, or ErrUnknown.
func (m *Memory) Load(ctx context.Context, id string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, unavailable("loading a key", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.keys[id]
	if !ok {
		return Record{}, fmt.Errorf("key %.64q: %w", id, ErrUnknown)
	}
	return m.owner(r), nil
}

// Create keeps a new key.
func (m *Memory) Create(ctx context.Context, r Record) error {
	if err := ctx.Err(); err != nil {
		return unavailable("creating a key", err)
	}
	if err := r.Check(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.keys[r.ID]; there {
		return fmt.Errorf("key %s: %w", r.ID, ErrExists)
	}
	if _, known := m.clients[r.Client]; !known && r.Client != "" {
		return fmt.Errorf("client %s: %w", r.Client, ErrNoClient)
	}
	r = r.clone()
	r.Revision = 1
	m.keep(r)
	return nil
}

// keep stores and pushes; it is called under mu.
func (m *Memory) keep(r Record) {
	m.revision = max(m.revision, r.Revision)
	m.keys[r.ID] = r
	m.push(r.ID, r.Revision)
}

// Update replaces a key if nobody else did.
func (m *Memory) Update(ctx context.Context, r Record) error {
	if err := ctx.Err(); err != nil {
		return unavailable("updating a key", err)
	}
	if err := r.Check(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	was, ok := m.keys[r.ID]
	switch {
	case !ok:
		return fmt.Errorf("key %s: %w", r.ID, ErrUnknown)
	case was.Revision != r.Revision-1:
		return fmt.Errorf("key %s: %w", r.ID, ErrConflict)
	}
	m.keep(r.clone())
	return nil
}

// List returns all keys, by id.
func (m *Memory) List(ctx context.Context) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, unavailable("listing the keys", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Record, 0, len(m.keys))
	for _, id := range slices.Sorted(maps.Keys(m.keys)) {
		all = append(all, m.owner(m.keys[id]))
	}
	return all, nil
}

// CreateClient keeps a new client.
func (m *Memory) CreateClient(ctx context.Context, c Client) error {
	if err := ctx.Err(); err != nil {
		return unavailable("creating a client", err)
	}
	if err := c.Check(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.clients[c.ID]; there {
		return fmt.Errorf("client %s: %w", c.ID, ErrExists)
	}
	m.clients[c.ID] = c.clone()
	return nil
}

// ListClients returns all clients, by name and id.
func (m *Memory) ListClients(ctx context.Context) ([]Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, unavailable("listing the clients", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Client, 0, len(m.clients))
	for _, c := range m.clients {
		all = append(all, c.clone())
	}
	slices.SortFunc(all, func(a, b Client) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID)) })
	return all, nil
}

// SwitchClient makes a client active or not, and pushes its keys.
func (m *Memory) SwitchClient(ctx context.Context, id string, active bool) error {
	if err := ctx.Err(); err != nil {
		return unavailable("switching a client", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.clients[id]
	if !ok {
		return fmt.Errorf("client %.64q: %w", id, ErrNoClient)
	}
	if c.Active == active {
		return nil
	}
	c.Active = active
	m.clients[id] = c
	for _, r := range m.keys {
		if r.Client == id {
			r.Revision++
			m.keep(r)
		}
	}
	return nil
}

// maxBatches is how many batches are known again. No call of this store fails after
// it did its work, so there is nobody to give one twice but by mistake, at once.
const maxBatches = 1024

// AddUsage adds rows to what is known.
func (m *Memory) AddUsage(ctx context.Context, batch string, rows []UsageRow) error {
	if err := ctx.Err(); err != nil {
		return unavailable("storing usage", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.batches[batch] {
		return nil
	}
	if len(m.batches) >= maxBatches {
		clear(m.batches)
	}
	m.batches[batch] = true
	full := int64(math.MinInt64) // there is no room for this hour and older ones
	for _, r := range rows {
		if _, there := m.keys[r.Key]; !there {
			continue
		}
		at := r
		at.Usage = Usage{}
		was, ok := m.usage[at]
		if !ok && len(m.usage) >= maxMemoryUsage && (at.Hour <= full || !m.forgetHour(at.Hour)) {
			full = max(full, at.Hour) // not looked through for each row
			continue
		}
		was.Add(r.Usage)
		m.usage[at] = was
		m.lastUsed[r.Key] = max(m.lastUsed[r.Key], r.LastUsed)
	}
	return nil
}

// forgetHour makes room: the rows of the oldest hour go; false if no hour is older
// than the one that needs it. It is called under mu.
func (m *Memory) forgetHour(than int64) bool {
	oldest := than
	for at := range m.usage {
		oldest = min(oldest, at.Hour)
	}
	maps.DeleteFunc(m.usage, func(at UsageRow, _ Usage) bool { return at.Hour == oldest && oldest < than })
	return oldest < than
}

// Usage returns the rows of a key.
func (m *Memory) Usage(ctx context.Context, id string, from, to time.Time) ([]UsageRow, error) {
	if err := ctx.Err(); err != nil {
		return nil, unavailable("reading usage", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := []UsageRow{}
	for at, u := range m.usage {
		if at.Key == id && at.Hour >= from.Unix() && at.Hour < to.Unix() {
			at.Usage = u
			rows = append(rows, at)
		}
	}
	slices.SortFunc(rows, CompareRows)
	return rows, nil
}

// ForgetUsage deletes old rows.
func (m *Memory) ForgetUsage(ctx context.Context, before time.Time, most int) (deleted int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, unavailable("forgetting usage", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for at := range m.usage {
		if at.Hour < before.Unix() && deleted < most {
			delete(m.usage, at)
			deleted++
		}
	}
	return deleted, nil
}

func (c *Client) clone() Client {
	copied := *c
	copied.Scopes, copied.RedirectURIs = slices.Clone(c.Scopes), slices.Clone(c.RedirectURIs)
	return copied
}
