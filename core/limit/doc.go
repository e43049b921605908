// Package limit decides how many requests may pass: the algorithms of SPEC RL1 as
// integer arithmetic, counters that levels of a route charge together, and the stores
// that hold them. A request is charged all or nothing: one that any level denies
// charges none.
//
// A [Policy] says how many, and is found by name in [Policies], where it may change. A
// [Counter] is whom it counts. A [Charge] takes tokens from one counter, and a [Store]
// decides all charges of a request at once: [Memory] for one instance, package
// store/redis for all, [Leased] for all by tokens that it takes from there ahead of need, and
// [Islands] by an instance's share while that is away. [Denied]
// repeats a store's denials where asking it would cost too much. What every store must do
// is written down in limittest.
//
// # Why it is exact
//
// A token bucket (bucket.go) is counted in parts, of which a token and what a tick gives
// back are both whole numbers ([Grain]); so nothing is rounded but the time, and that
// never in the caller's favour. A sliding log (ledger.go) is what it says. A sliding
// window is the same log with every time rounded up to the end of its slot, of which a
// span has 64: it needs 65 numbers, is at most one slot late, and never early.
//
// # Why it is cheap
//
// A bucket's tokens and time are one word, swapped without a lock. A counter that is
// full again is no counter at all: the table holds what limits somebody at this
// moment, and nothing else for long.
package limit
