package router

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// slot is a place in a hash table of literals; it is empty if node is 0.
type slot struct {
	hash uint32
	node uint32
}

// literals is a hash table within index.slots: open addressing with at least half
// of the slots empty, of which a lookup touches one or two. What it finds is
// compared with node.text. The texts come from the configuration, so that clients
// can't choose what collides.
type literals struct {
	first uint32 // place of slot 0 in index.slots
	mask  uint32 // number of slots - 1; 0: there are no literals
}

// tableSize returns the number of slots for n texts.
func tableSize(n int) int {
	return 1 << bits.Len(uint(2*n-1))
}

// place writes a text into an empty slot of its table.
func (t literals) place(slots []slot, text string, n uint32) {
	_, hash := scanSegment([]byte(text), 0)
	i := hash & t.mask
	for slots[t.first+i].node != 0 {
		i = (i + 1) & t.mask
	}
	slots[t.first+i] = slot{hash, n}
}

// child returns the node that a literal leads to, or 0.
func (ix *index) child(t literals, text []byte, hash uint32) uint32 {
	if t.mask == 0 {
		return 0
	}
	for i := hash & t.mask; ; i = (i + 1) & t.mask {
		s := ix.slots[t.first+i]
		if s.node == 0 {
			return 0
		}
		if s.hash == hash {
			if t := ix.nodes[s.node].text; bytes.Equal(ix.texts[t.start:t.end], text) {
				return s.node
			}
		}
	}
}

const (
	everyByte = 0x0101010101010101
	highBits  = 0x8080808080808080
	prime     = 0x9E3779B97F4A7C15 // 2^64 over the golden ratio
)

// scanSegment returns where the segment that begins at byte start ends, at a slash
// or at the end of path, and its hash: both in one pass of eight bytes a step.
func scanSegment(path []byte, start int) (end int, hash uint32) {
	h := uint64(prime)
	for i := start; ; i += 8 {
		v := load(path, i)
		// The lowest bit set in found marks the first slash (below it nothing borrows).
		x := v ^ '/'*everyByte
		found := (x - everyByte) & ^x & highBits
		if found == 0 && i+8 <= len(path) {
			h = (h ^ v) * prime
			h ^= h >> 32
			continue
		}
		n := min(bits.TrailingZeros64(found)/8, len(path)-i)
		h = (h ^ v&(1<<(8*n)-1)) * prime
		return i + n, uint32(h>>32) ^ uint32(h)
	}
}

// load returns up to eight bytes of b from i ≤ len(b) on, the first one lowest and
// zeros for those that b does not have.
func load(b []byte, i int) uint64 {
	if i+8 <= len(b) {
		return binary.LittleEndian.Uint64(b[i:])
	}
	if len(b) >= 8 {
		return binary.LittleEndian.Uint64(b[len(b)-8:]) >> (8 * (8 - (len(b) - i)))
	}
	var v uint64
	for j := len(b) - 1; j >= i; j-- {
		v = v<<8 | uint64(b[j])
	}
	return v
}

// hostTable maps host names, or suffixes of hosts, to the roots of their tries.
type hostTable struct {
	literals
	lengths [4]uint64 // bit n: there is a name of n bytes; spares most of the hashing
}

// find returns the root for a name, or 0. A name of a host has no slash.
func (ix *index) find(t *hostTable, name []byte) uint32 {
	if n := len(name); n > 255 || t.lengths[n/64]&(1<<(n%64)) == 0 {
		return 0
	}
	_, hash := scanSegment(name, 0)
	return ix.child(t.literals, name, hash)
}
