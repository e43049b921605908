package proxy

import "github.com/suuupra/gateway/core/wire"

const (
	// pieceSize is how much of a streamed body is moved at once, in bytes.
	pieceSize = 32 << 10
	// slabSize is the same for an answer that comes faster than that: each system
	// call saved is a microsecond. Twice as much was measured to cost half as much
	// again: it no longer fits what TCP sends at once.
	slabSize = 64 << 10
	// mostSlabs bounds the memory that slow clients of fast services hold; beyond
	// it there are pieces.
	mostSlabs = 256
	// chunkFront and chunkBack are the room for a chunk's size line and its end.
	chunkFront = wire.PassRoom
	chunkBack  = 2
)

// piece is a pooled buffer for streamed bodies, both ways.
type piece struct {
	bytes []byte // chunkFront, room, chunkBack
}

func newPiece(size int) *piece { return &piece{bytes: make([]byte, chunkFront+size+chunkBack)} }

// room is where the body's bytes go.
func (p *piece) room() []byte { return p.bytes[chunkFront : len(p.bytes)-chunkBack] }

// frame makes a chunk of the n bytes that stand in the room.
func (p *piece) frame(n int) []byte {
	at := chunkFront - 2
	p.bytes[at], p.bytes[at+1] = '\r', '\n'
	for size := n; size > 0; size >>= 4 {
		at--
		p.bytes[at] = "0123456789abcdef"[size&0xf]
	}
	end := chunkFront + n
	p.bytes[end], p.bytes[end+1] = '\r', '\n'
	return p.bytes[at : end+chunkBack]
}

// lend returns a slab if one is wanted and to be had, else a piece.
func (p *Proxy) lend(slab bool) *piece {
	if slab {
		if p.slabsLent.Add(1) <= mostSlabs {
			return p.slabs.Get().(*piece)
		}
		p.slabsLent.Add(-1)
	}
	return p.pieces.Get().(*piece)
}

// takeBack is for what lend returned.
func (p *Proxy) takeBack(b *piece) {
	if len(b.bytes) < slabSize {
		p.pieces.Put(b)
		return
	}
	p.slabs.Put(b)
	p.slabsLent.Add(-1)
}
