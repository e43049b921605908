package account

import (
	"bytes"
	"testing"

	"golang.org/x/crypto/argon2"
	"pgregory.net/rapid"
)

// TestI12_Argon2idIsTheStandards compares with the other implementation, on memory that
// is dirty from the case before.
func TestI12_Argon2idIsTheStandards(t *testing.T) {
	t.Parallel()
	r := &room{}
	rapid.Check(t, func(t *rapid.T) {
		c := cost{passes: rapid.Uint32Range(1, 4).Draw(t, "passes"), threads: rapid.Uint8Range(1, 8).Draw(t, "threads")}
		c.memory = rapid.Uint32Range(8*uint32(c.threads), 512).Draw(t, "memory")
		size := rapid.Uint32Range(4, 200).Draw(t, "size")
		password := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "password")
		salt := rapid.SliceOfN(rapid.Byte(), 8, 64).Draw(t, "salt")
		got := c.derive(password, salt, size, r)
		if want := argon2.IDKey(password, salt, c.passes, c.memory, c.threads, size); !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x", got, want)
		}
	})
}

// TestRoomsAreKept unless they are larger than today's hashes need.
func TestRoomsAreKept(t *testing.T) {
	t.Parallel()
	r := &room{}
	first := &r.of(64)[0]
	if &r.of(8)[0] != first || len(r.of(8)) != 8 {
		t.Error("a room is not used again")
	}
	if len(r.of(current.blocks()+1)) != int(current.blocks()+1) || &r.of(64)[0] != first {
		t.Error("a room larger than what is kept must be another")
	}
}

// Beside golang.org/x/crypto/argon2, at today's cost.
func BenchmarkArgon2id(b *testing.B) {
	password, salt := []byte("Correct-horse7!"), make([]byte, saltSize)
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		r := &room{}
		for b.Loop() {
			current.derive(password, salt, keySize, r)
		}
	})
	b.Run("x/crypto", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			argon2.IDKey(password, salt, current.passes, current.memory, current.threads, keySize)
		}
	})
}
