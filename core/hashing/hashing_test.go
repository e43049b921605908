package hashing_test

import (
	"hash/fnv"
	"math/bits"
	"testing"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/hashing"
)

// TestFNV holds the hash to the standard library's, whatever it is added in.
func TestFNV(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		parts := rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(r, "parts")
		want, got := fnv.New64a(), hashing.New()
		for i, p := range parts {
			_, _ = want.Write(p)
			switch i % 3 {
			case 0:
				got = got.AddBytes(p)
			case 1:
				got = got.AddString(string(p))
			default:
				for _, b := range p {
					got = got.Add(b)
				}
			}
		}
		if uint64(got) != want.Sum64() || got.Sum() != hashing.Mix(want.Sum64()) {
			r.Fatalf("%x, want %x", uint64(got), want.Sum64())
		}
	})
}

// TestMix is held to values of SplitMix64 with seed 0, which other gateways must agree
// with, and flips about half of the bits for each that is flipped.
func TestMix(t *testing.T) {
	t.Parallel()
	state := uint64(0)
	for i, want := range []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f} {
		if state += hashing.Golden; hashing.Mix(state) != want {
			t.Errorf("value %d is %#x, want %#x", i, hashing.Mix(state), want)
		}
	}
	for bit := range 64 {
		flipped := 0
		for x := range uint64(1000) {
			flipped += bits.OnesCount64(hashing.Mix(x*hashing.Golden) ^ hashing.Mix(x*hashing.Golden^1<<bit))
		}
		if mean := float64(flipped) / 1000; mean < 30 || mean > 34 {
			t.Errorf("bit %d flips %.1f", bit, mean)
		}
	}
}
