package tunnel

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// frame writes a frame with a length in the form that size asks for: 0, 2 or 8
// further bytes.
func frame(opcode byte, masked bool, payload []byte, size int) []byte {
	b := []byte{0x80 | opcode, 0}
	switch size {
	case 0:
		b[1] = byte(len(payload))
	case 2:
		b[1] = length16
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	default:
		b[1] = length64
		b = binary.BigEndian.AppendUint64(b, uint64(len(payload)))
	}
	if masked {
		b[1] |= maskBit
		b = append(b, 1, 2, 3, 4)
	}
	return append(b, payload...)
}

func TestFramesFollowEveryForm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		bytes  []byte
		closed bool
		next   int // where the first frame ends
	}{
		{"empty", frame(1, false, nil, 0), false, 2},
		{"empty, masked", frame(9, true, nil, 0), false, 6},
		{"short", frame(1, false, make([]byte, 125), 0), false, 127},
		{"16 bits", frame(2, true, make([]byte, 126), 2), false, 134},
		{"64 bits", frame(2, true, make([]byte, 70_000), 8), false, 70_014},
		{"a length that is longer than it need be", frame(2, false, make([]byte, 3), 8), false, 13},
		{"close", frame(8, true, []byte{3, 0xe8}, 0), true, 8},
		{"two", append(frame(1, false, []byte("a"), 0), frame(8, false, nil, 0)...), true, 3},
	} {
		var f frames
		if n := f.next(c.bytes); n != c.next || !f.between() {
			t.Errorf("%s: the first frame ends at %d, between %t, want %d", c.name, n, f.between(), c.next)
		}
		f.follow(c.bytes[c.next:])
		if f.closed != c.closed || !f.between() || f.lost {
			t.Errorf("%s: closed %t, between %t, lost %t", c.name, f.closed, f.between(), f.lost)
		}
	}
}

// A length beyond 2⁶³ is none: no place for a frame of ours is looked for any more.
func TestFramesGetLost(t *testing.T) {
	t.Parallel()
	var f frames
	f.follow([]byte{0x82, length64, 0x80, 0, 0, 0, 0, 0, 0, 0})
	if !f.lost || f.between() {
		t.Errorf("lost %t, between %t", f.lost, f.between())
	}
	f.follow(bytes.Repeat([]byte{0x88}, 100))
	if f.closed || f.between() {
		t.Error("what follows is looked at")
	}
	// Nor is a Close frame one that something follows.
	f = frames{}
	f.follow([]byte{0x88, 0})
	if !f.closed {
		t.Error("a Close frame was not seen")
	}
	f.follow([]byte{0x81})
	if f.closed || !f.lost {
		t.Errorf("behind a Close frame: closed %t, lost %t", f.closed, f.lost)
	}
}

// In whatever pieces bytes come, the frames end at the same places.
func TestFramesInPieces(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var ends []int
		closed := false
		for left := rapid.IntRange(1, 8).Draw(t, "frames"); left > 0 && !closed; left-- {
			opcode := rapid.SampledFrom([]byte{0, 1, 2, 8, 9, 10}).Draw(t, "opcode")
			payload := make([]byte, rapid.SampledFrom([]int{0, 1, 125, 126, 300}).Draw(t, "length"))
			sizes := []int{2, 8}
			if len(payload) < length16 {
				sizes = []int{0, 2, 8}
			}
			stream = append(stream, frame(opcode, rapid.Bool().Draw(t, "masked"), payload, rapid.SampledFrom(sizes).Draw(t, "size"))...)
			ends = append(ends, len(stream))
			closed = closed || opcode == opcodeClose
		}
		var f frames
		var met []int
		for at := 0; at < len(stream); {
			piece := stream[at:min(len(stream), at+rapid.IntRange(1, 200).Draw(t, "piece"))]
			for len(piece) > 0 {
				n := f.next(piece)
				piece, at = piece[n:], at+n
				if f.between() {
					met = append(met, at)
				}
			}
		}
		if len(met) != len(ends) || met[len(met)-1] != ends[len(ends)-1] || f.closed != closed {
			t.Fatalf("frames end at %v, want %v; closed %t", met, ends, f.closed)
		}
		for i := range met {
			if met[i] != ends[i] {
				t.Fatalf("frames end at %v, want %v", met, ends)
			}
		}
	})
}

// Whatever comes, in two pieces or in one, it is passed over to its end, and what is
// known of it is the same. Bytes pass unchanged, but for those behind a farewell.
func FuzzFrames(f *testing.F) {
	f.Add(frame(1, true, []byte("hello"), 0), 3)
	f.Add(frame(2, false, make([]byte, 300), 2), 1)
	f.Add([]byte{0x82, length64, 0xff, 0, 0, 0, 0, 0, 0, 0, 1}, 5)
	f.Add(append(frame(0, false, nil, 8), 0x88), 11)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		if len(stream) == 0 {
			return
		}
		cut = max(0, min(cut, len(stream)))
		var whole, pieces frames
		whole.follow(stream)
		pieces.follow(stream[:cut])
		middle := pieces
		pieces.follow(stream[cut:])
		if whole.left != pieces.left || whole.n != pieces.n || whole.closed != pieces.closed || whole.lost != pieces.lost {
			t.Fatalf("in one piece %+v, in two %+v", whole, pieces)
		}
		var flow flow
		if keep, bye := flow.pass(stream[:cut]); len(keep) != cut || bye {
			t.Fatalf("kept %d of %d, farewell %t", len(keep), cut, bye)
		}
		at := flow.dismiss()
		if at != (middle.between() && !middle.closed) {
			t.Fatalf("a farewell at %+v: %t", middle, at)
		}
		keep, bye := flow.pass(stream[cut:])
		switch {
		case at && (len(keep) > 0 || bye):
			t.Fatalf("%d bytes behind a farewell", len(keep))
		case bye && (middle.closed || middle.lost):
			t.Fatal("a farewell behind a Close frame, or amid what are no frames")
		case bye:
			end := middle
			if n := end.next(stream[cut:]); n != len(keep) || !end.between() {
				t.Fatalf("a farewell behind %d bytes, the frame ends behind %d", len(keep), n)
			}
		}
		if moved := flow.moved.Load(); moved != int64(len(stream)) {
			t.Fatalf("%d of %d bytes are counted", moved, len(stream))
		}
	})
}

func TestCloseFrames(t *testing.T) {
	t.Parallel()
	if got := appendClose(nil, fromService, ByDrain); !bytes.Equal(got, []byte{0x88, 2, 0x03, 0xe9}) {
		t.Errorf("to a client: %x", got)
	}
	got := appendClose(nil, fromClient, ByDrain)
	if len(got) != 8 || got[0] != 0x88 || got[1] != 0x82 || got[6]^got[2] != 0x03 || got[7]^got[3] != 0xe9 {
		t.Errorf("to a service: %x", got)
	}
}
