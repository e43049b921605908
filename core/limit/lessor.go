package limit

import "time"

// Lessor hands out leases of counters that several instances share: tokens that are charged
// to the counter before anybody spends them. It is what Leased needs of Redis. It may
// be used concurrently.
type Lessor interface {
	// Lease does what the asks say, in as few calls as it can, and sets their answers.
	// It waits no longer than a timeout of its own. What fails sets the ask's Err; it may
	// or may not have been done, or be done later, and is never asked twice.
	Lease(asks []*Ask)
}

// Ask is what an instance tells of one counter and wants of it, in this order: reports
// and refunds first, then those who wait, what is owed, and a lease.
type Ask struct {
	Key    []byte
	Policy *Policy
	Life   time.Duration // of the lease; never longer, and never past the end of a window's slot

	Reports []Report
	Refunds []Refund
	Now     []Demand // requests that wait for the answer, which count as spent by it
	Owed    int64    // tokens that bypassed, charged as far as the counter goes
	Lease   uint64   // a number that this Lessor was never given before
	Want    int64    // tokens to lease: at most a quarter of what is left,
	Soon    int64    // or as many as this, if more

	Err    error
	At     int64         // when it was decided, in microseconds of the counters' clock
	Leased int64         // tokens, 0 to Want
	Until  time.Duration // from At until the lease is taken for lost
	Left   int64         // tokens left after all of it
	Reset  time.Duration // until all of the capacity is there, if all that is leased is spent
	Wait   time.Duration // until the least cost that was refused might be admitted; 0 if none was

	waiting [][]*waiter // of each of Now
	ended   []*lease    // that Reports tell the end of
}

// Report tells how much of a lease is not spent. What is spent no longer counts as
// outstanding; an older report that arrives late changes nothing.
type Report struct {
	Lease uint64
	Left  int64
	Ended bool // Left will never be spent: it is given back
}

// Refund gives back what was granted to those who waited and was not spent.
type Refund struct{ Tokens, At int64 }

// Demand is requests of the same cost, of which the first Granted are admitted.
type Demand struct{ Cost, Count, Granted int64 }
