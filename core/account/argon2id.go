package account

import (
	"encoding/binary"
	"math/bits"

	"golang.org/x/crypto/blake2b"
)

// This is argon2id by RFC 9106, with the two things that golang.org/x/crypto/argon2
// does not offer and a flood of logins needs. All work is done on the calling thread, so
// that its priority can be lowered; that package starts goroutines of its own even for
// one lane. And memory is used again: 32 MiB anew for each login were up to 8,000 page
// faults and a garbage collection. All lanes are one thread's work, which bounds what a
// login of many lanes costs at a time. A test compares the two packages.

const (
	version   = 0x13 // RFC 9106 §3.1
	typeID    = 2
	quarters  = 4 // synchronization points of a pass
	words     = 128
	blockSize = words * 8
)

// block is one of the KiB of memory.
type block [words]uint64

// argon is one computation.
type argon struct {
	cost
	room    []block
	lane    uint32 // length of a lane, in blocks
	segment uint32 // length of a quarter of a lane
	zero    block
	input   block // what addresses are made from
	address block // pseudo-random numbers that don't depend on the password
}

// blocks is how many blocks a cost takes (RFC 9106 §3.2, m').
func (c cost) blocks() uint32 {
	return c.memory / (quarters * uint32(c.threads)) * quarters * uint32(c.threads)
}

// room is memory that is used for one password after the other. Its content is nobody's.
type room struct{ blocks []block }

// of returns n blocks. What is larger than today's hashes is not kept: hashes that were
// imported may ask for 256 MiB until their owners have logged in once.
func (r *room) of(n uint32) []block {
	if n > current.blocks() {
		return make([]block, n)
	}
	if uint32(len(r.blocks)) < n {
		r.blocks = make([]block, n)
	}
	return r.blocks[:n]
}

// derive is argon2id: a key of size bytes, at that cost.
func (c cost) derive(password, salt []byte, size uint32, r *room) []byte {
	a := &argon{cost: c, room: r.of(c.blocks())}
	a.lane = c.blocks() / uint32(c.threads)
	a.segment = a.lane / quarters
	a.begin(a.seed(password, salt, size))
	for pass := range c.passes {
		for slice := range uint32(quarters) {
			for lane := range uint32(c.threads) {
				a.fill(place{pass: pass, slice: slice, lane: lane})
			}
		}
	}
	return a.end(size)
}

// seed is H0 of RFC 9106 §3.2.
func (a *argon) seed(password, salt []byte, size uint32) []byte {
	var b []byte
	for _, n := range []uint32{uint32(a.threads), size, a.memory, a.passes, version, typeID} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	for _, part := range [][]byte{password, salt, nil, nil} { // no secret, no associated data
		b = binary.LittleEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	h := blake2b.Sum512(b)
	return h[:]
}

// begin makes the first two blocks of each lane.
func (a *argon) begin(seed []byte) {
	for lane := range uint32(a.threads) {
		for column := range uint32(2) {
			in := binary.LittleEndian.AppendUint32(append([]byte{}, seed...), column)
			in = binary.LittleEndian.AppendUint32(in, lane)
			b := &a.room[lane*a.lane+column]
			for i, bytes := 0, long(in, blockSize); i < words; i++ {
				b[i] = binary.LittleEndian.Uint64(bytes[i*8:])
			}
		}
	}
}

// end is the key: the last blocks of all lanes together.
func (a *argon) end(size uint32) []byte {
	last := a.room[a.lane-1]
	for lane := uint32(1); lane < uint32(a.threads); lane++ {
		for i, w := range a.room[lane*a.lane+a.lane-1] {
			last[i] ^= w
		}
	}
	var b []byte
	for _, w := range last {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return long(b, size)
}

// place is a segment: a quarter of a lane in a pass.
type place struct{ pass, slice, lane uint32 }

// fill computes a segment.
func (a *argon) fill(p place) {
	independent := p.pass == 0 && p.slice < quarters/2 // of the password: argon2id is argon2i there
	first := uint32(0)
	if p.pass == 0 && p.slice == 0 {
		first = 2 // begin made them
	}
	if independent {
		a.input = block{uint64(p.pass), uint64(p.lane), uint64(p.slice), uint64(len(a.room)), uint64(a.passes), typeID}
	}
	start := p.lane * a.lane
	column := p.slice*a.segment + first
	before := start + (column+a.lane-1)%a.lane
	for i := first; i < a.segment; i++ {
		random := a.room[before][0]
		if independent {
			if i == first || i%words == 0 {
				a.addresses()
			}
			random = a.address[i%words]
		}
		at := start + column
		compress(&a.room[at], &a.room[before], &a.room[a.reference(p, i, random)], p.pass > 0)
		before = at
		column++
	}
}

// addresses makes the next block of addresses (RFC 9106 §3.4.1.2).
func (a *argon) addresses() {
	a.input[6]++
	compress(&a.address, &a.zero, &a.input, false)
	compress(&a.address, &a.zero, &a.address, false)
}

// reference is which block a random number means for block i of a segment (RFC 9106 §3.4.2).
func (a *argon) reference(p place, i uint32, random uint64) uint32 {
	lane := uint32(random>>32) % uint32(a.threads)
	if p.pass == 0 && p.slice == 0 {
		lane = p.lane
	}
	whole, start := p.slice*a.segment, uint32(0) // what is finished, and where it begins
	if p.pass > 0 {
		whole, start = (quarters-1)*a.segment, (p.slice+1)%quarters*a.segment
	}
	switch {
	case lane == p.lane:
		whole += i - 1
	case i == 0:
		whole--
	}
	x := random & 0xffffffff
	back := uint64(whole) * (x * x >> 32) >> 32
	return lane*a.lane + (start+whole-1-uint32(back))%a.lane
}

// long is H' of RFC 9106 §3.3: a hash of any size.
func long(in []byte, size uint32) []byte {
	in = append(binary.LittleEndian.AppendUint32(nil, size), in...)
	if size <= blake2b.Size {
		return short(in, size)
	}
	out := make([]byte, 0, size)
	v := short(in, blake2b.Size)
	for size -= blake2b.Size / 2; size > blake2b.Size; size -= blake2b.Size / 2 {
		out = append(out, v[:blake2b.Size/2]...)
		v = short(v, blake2b.Size)
	}
	out = append(out, v[:blake2b.Size/2]...)
	return append(out, short(v, size)...)
}

// short is BLAKE2b of 1 to 64 bytes.
func short(in []byte, size uint32) []byte {
	h, err := blake2b.New(int(size), nil)
	if err != nil {
		panic("BUG: a BLAKE2b of that size: " + err.Error())
	}
	_, _ = h.Write(in) // a hash takes everything
	return h.Sum(nil)
}

// compress is G of RFC 9106 §3.5 into out, which may be one of x and y; with over, what
// out held is XORed into it.
func compress(out, x, y *block, over bool) {
	var r, z block
	for i := range r {
		r[i] = x[i] ^ y[i]
	}
	z = r
	for i := 0; i < words; i += 16 {
		permute((*[16]uint64)(z[i : i+16]))
	}
	for i := 0; i < 16; i += 2 {
		var v [16]uint64
		for k := range 8 {
			v[2*k], v[2*k+1] = z[16*k+i], z[16*k+i+1]
		}
		permute(&v)
		for k := range 8 {
			z[16*k+i], z[16*k+i+1] = v[2*k], v[2*k+1]
		}
	}
	if over {
		for i := range r {
			r[i] ^= out[i]
		}
	}
	for i := range z {
		out[i] = z[i] ^ r[i]
	}
}

// permute is P of RFC 9106 §3.6.
func permute(v *[16]uint64) {
	v0, v1, v2, v3, v4, v5, v6, v7 := v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]
	v8, v9, v10, v11, v12, v13, v14, v15 := v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15]

	v0, v4, v8, v12 = mix(v0, v4, v8, v12)
	v1, v5, v9, v13 = mix(v1, v5, v9, v13)
	v2, v6, v10, v14 = mix(v2, v6, v10, v14)
	v3, v7, v11, v15 = mix(v3, v7, v11, v15)
	v[0], v[5], v[10], v[15] = mix(v0, v5, v10, v15)
	v[1], v[6], v[11], v[12] = mix(v1, v6, v11, v12)
	v[2], v[7], v[8], v[13] = mix(v2, v7, v8, v13)
	v[3], v[4], v[9], v[14] = mix(v3, v4, v9, v14)
}

// mix is GB of RFC 9106 §3.6.
func mix(a, b, c, d uint64) (uint64, uint64, uint64, uint64) {
	a = add(a, b)
	d = bits.RotateLeft64(d^a, -32)
	c = add(c, d)
	b = bits.RotateLeft64(b^c, -24)
	a = add(a, b)
	d = bits.RotateLeft64(d^a, -16)
	c = add(c, d)
	return a, bits.RotateLeft64(b^c, -63), c, d
}

func add(x, y uint64) uint64 { return x + y + 2*uint64(uint32(x))*uint64(uint32(y)) }
