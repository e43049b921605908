// Package hashing turns text into numbers that spread evenly, and are the same in every
// process and every release: gateways that share nothing agree on where a caller, or an
// endpoint, belongs. It keeps no secret, so it is nothing to protect a table with.
package hashing

// Hash is FNV-1a of 64 bits (G. Fowler, L. Noll, K. Vo) over what was added so far.
type Hash uint64

const (
	offset = 14695981039346656037
	prime  = 1099511628211
)

// New is the hash of nothing.
func New() Hash { return offset }

// Add adds one byte.
func (h Hash) Add(b byte) Hash { return (h ^ Hash(b)) * prime }

// AddBytes adds all of b.
func (h Hash) AddBytes(b []byte) Hash {
	for _, c := range b {
		h = h.Add(c)
	}
	return h
}

// AddString adds all of s.
func (h Hash) AddString(s string) Hash {
	for i := range len(s) {
		h = h.Add(s[i])
	}
	return h
}

// Sum is the hash, mixed: FNV alone leaves its upper bits alike where texts differ at
// their ends.
func (h Hash) Sum() uint64 { return Mix(uint64(h)) }

// Golden is 2⁶⁴ divided by the golden ratio: adding it again and again meets no state
// twice.
const Golden = 0x9e3779b97f4a7c15

// Mix spreads every bit of x over all, and maps no two to one (the finalizer of
// SplitMix64: G. Steele, D. Lea and C. Flood, "Fast Splittable Pseudorandom Number
// Generators", 2014).
func Mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
