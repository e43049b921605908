package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
)

// The parts of a key, in bytes.
const (
	prefix      = "gk_"
	idSize      = 16
	secretSize  = 43
	sumSize     = 6
	secretStart = len(prefix) + idSize + 1
	sumStart    = secretStart + secretSize
	keySize     = sumStart + sumSize
)

// base62 is the digits of ids, secrets and checksums.
const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// keyID is an id as an array, for it is compared and copied without allocating.
type keyID [idSize]byte

// Hash is the SHA-256 of a key's id and secret: all that is ever stored of a secret.
type Hash [sha256.Size]byte

// hashForm is how a Hash begins as text, so that it tells what it is.
const hashForm = "sha256:"

// String is "sha256:" and 64 hexadecimal digits: what stands in configurations.
func (h Hash) String() string { return hashForm + hex.EncodeToString(h[:]) }

// ParseHash reads what String writes. Errors wrap ErrInvalid and hold nothing of
// the text: somebody may have put a secret where its hash should be.
func ParseHash(text string) (Hash, error) {
	var h Hash
	digits, ok := strings.CutPrefix(text, hashForm)
	if !ok || len(digits) != 2*len(h) || strings.ToLower(digits) != digits {
		return Hash{}, fmt.Errorf("%w: a hash is %q and 64 lower-case hexadecimal digits; `gateway hash` makes it of a key", ErrInvalid, hashForm)
	}
	if _, err := hex.Decode(h[:], []byte(digits)); err != nil {
		return Hash{}, fmt.Errorf("%w: a hash has hexadecimal digits only after %q", ErrInvalid, hashForm)
	}
	return h, nil
}

// HashOf returns the id of a key and the hash to store, or ErrMalformed.
func HashOf(key string) (id string, h Hash, err error) {
	shown, ok := parse([]byte(key))
	if !ok {
		return "", Hash{}, ErrMalformed
	}
	return string(shown.id[:]), shown.hash(), nil
}

// CheckID says why id is no id of a key, or nil. Errors wrap ErrInvalid.
func CheckID(id string) error {
	if len(id) != idSize || !isBase62(id) {
		return fmt.Errorf("%w: the id of a key is %d letters and digits, got %.64q", ErrInvalid, idSize, id)
	}
	return nil
}

// shown is a key that has the right form; secret is a view into what was parsed.
type shown struct {
	id     keyID
	secret []byte
}

// parse takes a key apart; false if its form or its checksum is wrong.
func parse(raw []byte) (shown, bool) {
	if len(raw) != keySize || string(raw[:len(prefix)]) != prefix || raw[secretStart-1] != '_' {
		return shown{}, false
	}
	if !isBase62(raw[len(prefix):secretStart-1]) || !isBase62(raw[secretStart:sumStart]) {
		return shown{}, false
	}
	if want := checksum(raw[:sumStart]); string(want[:]) != string(raw[sumStart:]) {
		return shown{}, false
	}
	return shown{id: keyID(raw[len(prefix):]), secret: raw[secretStart:sumStart]}, true
}

// hash is what the stores would hold of this key.
func (s shown) hash() Hash {
	var both [idSize + secretSize]byte
	copy(both[:], s.id[:])
	copy(both[idSize:], s.secret)
	return sha256.Sum256(both[:])
}

// checksum is the CRC-32 of b in base 62.
func checksum(b []byte) (digits [sumSize]byte) {
	n := crc32.ChecksumIEEE(b)
	for i := sumSize - 1; i >= 0; i-- {
		digits[i] = base62[n%62]
		n /= 62
	}
	return digits
}

func isBase62[T string | []byte](s T) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// newKey draws the secret of a key and returns the whole key with its hash.
func newKey(id string) (key string, h Hash) {
	b := append(make([]byte, 0, keySize), prefix+id+"_"+randomBase62(secretSize)...)
	sum := checksum(b)
	b = append(b, sum[:]...)
	shown, ok := parse(b)
	if !ok {
		panic("BUG: a new key does not parse")
	}
	return string(b), shown.hash()
}

// randomBase62 draws n digits, each of the 62 as likely as the others: bytes of
// 248 and above would make the first eight likelier, and are drawn again.
func randomBase62(n int) string {
	digits := make([]byte, 0, n)
	var drawn [64]byte
	for len(digits) < n {
		_, _ = rand.Read(drawn[:]) // never fails: it ends the process instead
		for _, b := range drawn {
			if b < 62*4 && len(digits) < n {
				digits = append(digits, base62[b%62])
			}
		}
	}
	return string(digits)
}
