package meter

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
)

// mostTallied is how many labels a Tally may have.
const mostTallied = 3

// Tally is the counters of one family whose labels' values are known only when
// something is counted. What is known already is found without a lock and without an
// allocation. It is for concurrent use. Whoever counts sees to it that no caller can
// make up values: see Set.Identity.
type Tally struct {
	set        *Set
	name, help string
	labels     []string

	mu     sync.Mutex // taken to make a series
	series atomic.Pointer[map[[mostTallied]string]*Counter]
}

// Tally returns the tally of that name, of one to three labels: the same one each time.
func (s *Set) Tally(name, help string, labels ...string) *Tally {
	if len(labels) == 0 || len(labels) > mostTallied {
		panic(fmt.Sprintf("BUG: %s has %d labels", name, len(labels)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.family(name, help, kindCounter)
	t := s.tallies[name]
	if t == nil {
		t = &Tally{set: s, name: name, help: help, labels: labels}
		t.series.Store(&map[[mostTallied]string]*Counter{})
		s.tallies[name] = t
	}
	return t
}

// Add adds n to the counter of those values, one for each label and the others empty,
// for the caller's stripe.
func (t *Tally) Add(stripe uint32, n uint64, values [mostTallied]string) {
	c := (*t.series.Load())[values]
	if c == nil {
		c = t.make(values)
	}
	c.Add(stripe, n)
}

func (t *Tally) make(values [mostTallied]string) *Counter {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := *t.series.Load()
	if c := known[values]; c != nil {
		return c
	}
	labels := make([]Label, len(t.labels))
	for i, name := range t.labels {
		labels[i] = Label{Name: name, Value: values[i]}
	}
	c := t.set.Counter(t.name, t.help, labels...)
	more := maps.Clone(known)
	more[values] = c
	t.series.Store(&more)
	return c
}

// Other is what callers are called in labels once enough of them have names.
const Other = "other"

// caller is who calls, as labels name it.
type caller struct{ user, client string }

// identities are the callers that labels name. Nobody can make up more.
type identities struct {
	most atomic.Int64

	mu    sync.Mutex // taken to add one
	known atomic.Pointer[map[caller]bool]
}

// SetIdentities bounds the distinct callers that labels name. Those that are named
// already stay.
func (s *Set) SetIdentities(most int) { s.identities.most.Store(int64(most)) }

// Identity returns the ids of a caller as labels may name them: Other for both once
// enough callers have names. Empty ids stay: nobody is one caller.
func (s *Set) Identity(user, client string) (string, string) {
	who := caller{user, client}
	if who == (caller{}) || (*s.identities.known.Load())[who] || s.identities.add(who) {
		return user, client
	}
	return Other, Other
}

func (i *identities) add(who caller) bool {
	if int64(len(*i.known.Load())) >= i.most.Load() {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	known := *i.known.Load()
	if known[who] {
		return true
	}
	if int64(len(known)) >= i.most.Load() {
		return false
	}
	more := maps.Clone(known)
	more[who] = true
	i.known.Store(&more)
	return true
}
