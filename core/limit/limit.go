package limit

import (
	"errors"
	"fmt"
	"time"
)

// Algorithm is how a policy counts (SPEC RL1).
type Algorithm uint8

// The algorithms.
const (
	// TokenBucket holds Burst tokens and gains Count of them every Per, evenly.
	TokenBucket Algorithm = iota + 1
	// SlidingWindow admits Count in any span of Per, counted in 64 slots of which those
	// that the span only touches count whole: it never admits more in any true window,
	// and at least 63 of 64 of what it might.
	SlidingWindow
	// SlidingLog admits exactly Count in any span of Per. It remembers every admission,
	// so its Count is at most LargestLog.
	SlidingLog
)

// String returns the name that configurations use.
func (a Algorithm) String() string {
	return [...]string{"?", "token_bucket", "sliding_window", "sliding_log"}[min(a, SlidingLog)]
}

// Policy is what one counter allows: Count tokens every Per. It is immutable once a
// Charge names it. Two policies of one name may differ, as when a configuration
// changes: what is counted under the old one stays counted under the new.
type Policy struct {
	Name      string
	Algorithm Algorithm
	Count     int64         // 1 to Largest
	Per       time.Duration // 1 ms to Longest
	Burst     int64         // 1 to Largest; of token buckets alone, else 0
}

// Bounds of a policy's numbers. With them no sum overflows 63 bits here nor the 53
// that a number of Redis's Lua holds exactly.
const (
	Largest    = 1_000_000_000
	LargestLog = 100_000
	Longest    = 31 * 24 * time.Hour
)

// Capacity is the most that the policy admits at once; no single cost may be above it.
func (p *Policy) Capacity() int64 {
	if p.Algorithm == TokenBucket {
		return p.Burst
	}
	return p.Count
}

// Validate says what makes no sense of the policy, or nil. Stores may rely on it.
func (p *Policy) Validate() error {
	switch {
	case p.Algorithm < TokenBucket || p.Algorithm > SlidingLog:
		return errors.New("a policy needs an algorithm: token_bucket, sliding_window or sliding_log")
	case p.Count < 1 || p.Count > Largest:
		return fmt.Errorf("a policy's rate counts from 1 to %d", Largest)
	case p.Per < time.Millisecond || p.Per > Longest || p.Per%time.Microsecond != 0:
		return fmt.Errorf("a policy's rate is over 1ms to %s, in whole microseconds", Longest)
	case p.Algorithm == TokenBucket && (p.Burst < 1 || p.Burst > Largest):
		return fmt.Errorf("a token bucket's burst is from 1 to %d", Largest)
	case p.Algorithm != TokenBucket && p.Burst != 0:
		return errors.New("only a token bucket has a burst")
	case p.Algorithm == SlidingLog && p.Count > LargestLog:
		return fmt.Errorf("a sliding_log remembers each of its requests, so it counts to %d at most; use a sliding_window", LargestLog)
	case p.Algorithm == TokenBucket && p.Grain().Token == 0:
		return errCoarse
	}
	return nil
}

// Charge is one counter that a request is charged to, and what came of it. The caller
// sets the first four fields, Store.Take the others, whatever its decision.
type Charge struct {
	Policy *Policy
	Key    []byte // by AppendKey; borrowed for the call
	Cost   int64  // tokens, 1 to Largest; above the policy's Capacity it is always denied
	Bypass bool   // counted as far as the counter goes, and never denied (SPEC RL5); its Wait is 0

	Remaining int64         // tokens left after the decision
	Reset     time.Duration // until all of Capacity is there again, if nobody asks meanwhile
	Wait      time.Duration // 0 if this counter admits; else the exact time until it might; Never if the cost is above Capacity
}

// Never is the Wait of what is never admitted.
const Never time.Duration = 1<<63 - 1

// Admitted is the decision that lets a request through.
const Admitted = -1

// Store counts for one instance or for all. It may be used concurrently.
type Store interface {
	// Take charges every one of charges, or, if one of them denies, none (SPEC RL2). Two
	// of them may name one counter: it is charged both. It returns Admitted or the index
	// of the first charge that denies. It waits no longer than the store's own timeout,
	// and allocates nothing where it counts in memory. An error says that the store could
	// not decide; then nothing counts as admitted.
	Take(charges []Charge) (denied int, err error)
}
