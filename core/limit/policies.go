package limit

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
)

// Policies are the policies of a gateway by name. They are replaced as a whole while
// requests run, and who has found one sees what it is now: a change of numbers needs
// nothing to be compiled anew and loses no count (SPEC RL7). It is for concurrent use.
type Policies struct {
	mu     sync.Mutex // of Replace
	byName atomic.Pointer[map[string]*Named]
}

// Named is a name that policies have, one after the other.
type Named struct {
	name   string
	policy atomic.Pointer[Policy] // written by Replace
}

// Policy is the policy in force; that of the last moment if the name is gone. A request
// asks once, so that all of it sees one.
func (n *Named) Policy() *Policy { return n.policy.Load() }

// Name is the policy's name.
func (n *Named) Name() string { return n.name }

// NewPolicies returns policies without any.
func NewPolicies() *Policies {
	p := &Policies{}
	p.byName.Store(&map[string]*Named{})
	return p
}

// Find returns the policy of a name, if there is one now.
func (p *Policies) Find(name string) (*Named, bool) {
	n, ok := (*p.byName.Load())[name]
	return n, ok
}

// Names are those that can be found, in order.
func (p *Policies) Names() []string {
	byName := *p.byName.Load()
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Replace puts policies in force instead of all others, or, if one of them is not valid
// or two share a name, none of them. It owns them from then on. Routes that have found
// a name which is no longer there keep its last policy until they are compiled again.
func (p *Policies) Replace(policies []*Policy) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := make(map[string]*Policy, len(policies))
	for _, policy := range policies {
		if policy.Name == "" {
			return fmt.Errorf("replacing policies: one has no name")
		}
		if err := policy.Validate(); err != nil {
			return fmt.Errorf("replacing policies: %s: %w", policy.Name, err)
		}
		if next[policy.Name] != nil {
			return fmt.Errorf("replacing policies: there are two named %s", policy.Name)
		}
		next[policy.Name] = policy
	}
	old, byName := *p.byName.Load(), make(map[string]*Named, len(next))
	for name, policy := range next {
		n := old[name]
		if n == nil {
			n = &Named{name: name}
		}
		if was := n.policy.Load(); was == nil || *was != *policy {
			n.policy.Store(policy)
		}
		byName[name] = n
	}
	p.byName.Store(&byName)
	return nil
}
