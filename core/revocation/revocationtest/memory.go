// Package revocationtest tests what feeds a mirror of revocations: suites that every
// store passes, and stores in memory that fail when they are told to.
package revocationtest

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/suuupra/gateway/core/revocation"
)

// ErrSevered is what a severed store answers.
var ErrSevered = errors.New("severed on purpose")

// record is what both stores keep, and their way to fail.
type record struct {
	mu      sync.Mutex
	entries map[string]revocation.Entry
	severed bool
	changed chan struct{} // closed and replaced at each change of anything
}

func newRecord() record {
	return record{entries: map[string]revocation.Entry{}, changed: make(chan struct{})}
}

// stir wakes whoever waits for a change. Called under mu.
func (r *record) stir() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Sever makes every call fail from now on, or no longer.
func (r *record) Sever(severed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.severed = severed
	r.stir()
}

// Wipe forgets everything.
func (r *record) Wipe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.entries)
	r.stir()
}

// Get returns what is kept of a key.
func (r *record) Get(key string) (revocation.Entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[key]
	return e, ok
}

// err is why a call fails. Called under mu.
func (r *record) err(ctx context.Context) error {
	if r.severed {
		return ErrSevered
	}
	return ctx.Err()
}

func (r *record) merge(e revocation.Entry) {
	if old, ok := r.entries[e.Key]; ok {
		e = old.Merge(e)
	}
	r.entries[e.Key] = e
}

// Durable is a durable store in memory. Its methods may be called concurrently.
type Durable struct {
	record
	log []revocation.Entry // in the order of saving
}

// NewDurable returns an empty store.
func NewDurable() *Durable { return &Durable{record: newRecord()} }

// Save implements revocation.Durable.
func (d *Durable) Save(ctx context.Context, entries []revocation.Entry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.err(ctx); err != nil {
		return err
	}
	for _, e := range entries {
		d.merge(e)
		d.log = append(d.log, d.entries[e.Key])
	}
	d.stir()
	return nil
}

// Since implements revocation.Durable. A cursor from before a Wipe stays good.
func (d *Durable) Since(ctx context.Context, cursor string) ([]revocation.Entry, string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.err(ctx); err != nil {
		return nil, "", err
	}
	next := strconv.Itoa(len(d.log))
	if cursor == "" {
		all := make([]revocation.Entry, 0, len(d.entries))
		for _, e := range d.entries {
			all = append(all, e)
		}
		return all, next, nil
	}
	from, err := strconv.Atoi(cursor)
	if err != nil {
		return nil, "", err
	}
	return append([]revocation.Entry(nil), d.log[from:]...), next, nil
}

// Watch implements revocation.Durable; it hears nothing while the store is severed.
func (d *Durable) Watch(ctx context.Context, woke func()) {
	for {
		d.mu.Lock()
		changed, severed := d.changed, d.severed
		d.mu.Unlock()
		if !severed {
			woke()
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// Purge implements revocation.Durable.
func (d *Durable) Purge(ctx context.Context, before int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.err(ctx); err != nil {
		return err
	}
	for k, e := range d.entries {
		if e.Expires < before {
			delete(d.entries, k)
		}
	}
	return nil
}

// Push is a push store in memory. Its methods may be called concurrently.
type Push struct {
	record
	followers map[*follower]struct{}
}

// follower is one Follow: what it has not been told yet.
type follower struct{ news revocation.News }

// NewPush returns an empty store.
func NewPush() *Push { return &Push{record: newRecord(), followers: map[*follower]struct{}{}} }

// Publish implements revocation.Push.
func (p *Push) Publish(ctx context.Context, entries []revocation.Entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.err(ctx); err != nil {
		return err
	}
	for _, e := range entries {
		p.merge(e)
		p.touch(e.Key)
	}
	return nil
}

// touch tells that a key has changed. Called under mu.
func (p *Push) touch(key string) {
	for f := range p.followers {
		f.news.Keys = append(f.news.Keys, key)
	}
	p.stir()
}

// Put writes an entry as somebody would who does not merge.
func (p *Push) Put(e revocation.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries[e.Key] = e
	p.touch(e.Key)
}

// Delete evicts a key.
func (p *Push) Delete(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.entries, key)
	p.touch(key)
}

// Wipe forgets everything, and tells so.
func (p *Push) Wipe() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.entries)
	for f := range p.followers {
		f.news.Everything = true
	}
	p.stir()
}

// Sever makes every call fail from now on, or no longer: then all may have changed.
func (p *Push) Sever(severed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.severed = severed
	for f := range p.followers {
		f.news.Everything = true
	}
	p.stir()
}

// Load implements revocation.Push.
func (p *Push) Load(ctx context.Context) ([]revocation.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.err(ctx); err != nil {
		return nil, err
	}
	all := make([]revocation.Entry, 0, len(p.entries))
	for _, e := range p.entries {
		all = append(all, e)
	}
	return all, nil
}

// Read implements revocation.Push.
func (p *Push) Read(ctx context.Context, keys []string) ([]revocation.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.err(ctx); err != nil {
		return nil, err
	}
	var some []revocation.Entry
	for _, k := range keys {
		if e, ok := p.entries[k]; ok {
			some = append(some, e)
		}
	}
	return some, nil
}

// Follow implements revocation.Push.
func (p *Push) Follow(ctx context.Context, told func(revocation.News)) {
	f := &follower{news: revocation.News{Everything: true}}
	p.mu.Lock()
	p.followers[f] = struct{}{}
	p.mu.Unlock()
	for {
		p.mu.Lock()
		changed, severed, news := p.changed, p.severed, f.news
		if !severed {
			f.news = revocation.News{}
		}
		p.mu.Unlock()
		if !severed {
			told(news)
		}
		select {
		case <-ctx.Done():
			p.mu.Lock()
			delete(p.followers, f)
			p.mu.Unlock()
			return
		case <-changed:
		}
	}
}

// Beat tells followers that nothing has changed.
func (p *Push) Beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stir()
}

var (
	_ revocation.Durable = (*Durable)(nil)
	_ revocation.Push    = (*Push)(nil)
)
