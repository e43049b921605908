package plugin

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/suuupra/gateway/core/limit"
)

// Limits is what counts requests. It is for concurrent use.
type Limits struct {
	Store limit.Store
	// Policies are those in force; they change while instances stand.
	Policies *limit.Policies
	// Denied remembers what Store has refused, so that it need not be asked again.
	Denied *limit.Denied

	mu          sync.Mutex // of who changes Policies
	file, table map[string]*limit.Policy
}

// Announce adds those policies that are new by their name, so that a configuration which
// names them can be compiled. They are in force for nobody else: no route names them yet.
// Should it be refused, withdraw takes them out again; else Replace follows.
func (l *Limits) Announce(policies map[string]*limit.Policy) (withdraw func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.file
	all := maps.Clone(l.file)
	if all == nil {
		all = map[string]*limit.Policy{}
	}
	for name, p := range policies {
		if all[name] == nil {
			all[name] = p
		}
	}
	l.replace(all, l.table)
	return func() { l.Replace(before) }
}

// Replace puts the policies of a configuration in force, in place of those of the one
// before. What is counted stays counted.
func (l *Limits) Replace(policies map[string]*limit.Policy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replace(policies, l.table)
}

// Override lays the policies of a table over those of the configuration, in place of
// those laid before.
func (l *Limits) Override(policies map[string]*limit.Policy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replace(l.file, policies)
}

// replace is called under mu. The policies were checked by whoever read them.
func (l *Limits) replace(file, table map[string]*limit.Policy) {
	was := l.all()
	l.file, l.table = file, table
	now := l.all()
	if maps.EqualFunc(was, now, func(a, b *limit.Policy) bool { return *a == *b }) {
		return
	}
	if err := l.Policies.Replace(slices.Collect(maps.Values(now))); err != nil {
		panic(fmt.Sprintf("BUG: %v", err))
	}
	l.Denied.Forget() // what was denied may pass now
}

// all is the table over the file.
func (l *Limits) all() map[string]*limit.Policy {
	all := make(map[string]*limit.Policy, len(l.file)+len(l.table))
	maps.Copy(all, l.file)
	maps.Copy(all, l.table)
	return all
}

// Around is what surrounds the options of a plugin in the configuration that they are
// part of. The zero Around knows nothing.
type Around struct {
	// Policies are the rate-limit policies by name, nil where their numbers are not
	// known. A nil map says that nothing is known: then no name is looked at.
	Policies map[string]*limit.Policy
}
