package account

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// The sizes of what we hash, in bytes (SECURITY I12).
const (
	saltSize = 16
	keySize  = 32
)

// What a stored hash may ask for (SECURITY I12): whoever can write one, by an import
// or into a file, must not be able to stop the machine with it.
const (
	maxMemory  = 256 << 10 // KiB
	maxPasses  = 10
	maxThreads = 8
	maxSalt    = 64
	maxKey     = 64
	minSalt    = 8  // RFC 9106 §3.1
	minKey     = 16 // shorter ones can be hit by chance
)

// maxBcryptCost is about a second of one core.
const maxBcryptCost = 14

// maxBcryptPassword is where bcrypt stops reading: two passwords that differ after it
// would be one (SECURITY I12).
const maxBcryptPassword = 72

// cost is what an argon2id hash costs to compute.
type cost struct {
	memory, passes uint32 // KiB, rounds
	threads        uint8
}

// current is what new hashes cost (SECURITY I12).
var current = cost{memory: 32 << 10, passes: 2, threads: 1}

// hash is a stored hash that was read.
type hash interface {
	matches(password string, r *room) bool // costs what the hash asks for; uses r
	outdated(now cost) bool                // weaker than a new one would be
}

// argonHash is an argon2id hash; its text is the PHC string format.
type argonHash struct {
	cost
	salt, key []byte
}

func (h *argonHash) matches(password string, r *room) bool {
	key := h.derive([]byte(password), h.salt, uint32(len(h.key)), r)
	return subtle.ConstantTimeCompare(key, h.key) == 1
}

func (h *argonHash) outdated(now cost) bool {
	work := func(c cost) uint64 { return uint64(c.memory) * uint64(c.passes) }
	return h.memory < now.memory || work(h.cost) < work(now) || len(h.salt) < saltSize || len(h.key) < keySize
}

// text is the hash as it is stored.
func (h *argonHash) text() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", version, h.memory, h.passes, h.threads,
		b64.EncodeToString(h.salt), b64.EncodeToString(h.key))
}

// newArgonHash hashes a password under a new salt.
func newArgonHash(password string, c cost, r *room) *argonHash {
	h := &argonHash{cost: c, salt: randomBytes(saltSize)}
	h.key = c.derive([]byte(password), h.salt, keySize, r)
	return h
}

// dummyHash is one that costs as much as others and that no password matches.
func dummyHash(c cost) *argonHash {
	return &argonHash{cost: c, salt: randomBytes(saltSize), key: randomBytes(keySize)}
}

// randomBytes returns n bytes of the system's randomness, which never fails (crypto/rand).
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

type bcryptHash string

// matches pays the full price for a password that is too long as well.
func (h bcryptHash) matches(password string, _ *room) bool {
	whole := len(password) <= maxBcryptPassword
	err := bcrypt.CompareHashAndPassword([]byte(h), []byte(password[:min(len(password), maxBcryptPassword)]))
	return whole && err == nil
}

func (bcryptHash) outdated(cost) bool { return true }

// errHash is why a stored hash can't be used; its text holds nothing of the hash.
var errHash = errors.New("the stored password hash can't be used")

// CheckHash says whether text is a hash that passwords can be compared with: argon2id
// as a PHC string or bcrypt, asking for no more than SECURITY I12 allows. The error
// holds nothing of the hash but its parameters.
func CheckHash(text string) error {
	_, err := parseHash(text)
	return err
}

func parseHash(text string) (hash, error) {
	switch {
	case strings.HasPrefix(text, "$argon2id$"):
		return parseArgon(strings.Split(text, "$")[2:])
	case len(text) == 60 && (strings.HasPrefix(text, "$2a$") || strings.HasPrefix(text, "$2b$") || strings.HasPrefix(text, "$2y$")):
		n, err := bcrypt.Cost([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("%w: it is no bcrypt hash", errHash)
		}
		if n > maxBcryptCost {
			return nil, fmt.Errorf("%w: bcrypt cost %d; at most %d", errHash, n, maxBcryptCost)
		}
		return bcryptHash(text), nil
	default:
		return nil, fmt.Errorf("%w: it is neither argon2id ($argon2id$v=19$…) nor bcrypt ($2b$…)", errHash)
	}
}

// parseArgon reads the parts behind $argon2id$: version, cost, salt and key.
func parseArgon(parts []string) (hash, error) {
	if len(parts) != 4 || parts[0] != "v="+strconv.Itoa(version) {
		return nil, fmt.Errorf("%w: argon2id needs v=19, parameters, salt and key", errHash)
	}
	c, err := parseCost(parts[1])
	if err != nil {
		return nil, err
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(parts[2])
	key, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[3])
	if err1 != nil || err2 != nil || strings.ContainsAny(parts[2]+parts[3], "\r\n") {
		return nil, fmt.Errorf("%w: salt or key is not base64 without padding", errHash)
	}
	if len(salt) < minSalt || len(salt) > maxSalt || len(key) < minKey || len(key) > maxKey {
		return nil, fmt.Errorf("%w: a salt of %d and a key of %d bytes; want %d–%d and %d–%d",
			errHash, len(salt), len(key), minSalt, maxSalt, minKey, maxKey)
	}
	return &argonHash{cost: c, salt: salt, key: key}, nil
}

// parseCost reads m=32768,t=2,p=1, in this order, as the PHC format has it.
func parseCost(text string) (cost, error) {
	fields := strings.Split(text, ",")
	if len(fields) != 3 {
		return cost{}, fmt.Errorf("%w: its parameters are not m, t and p", errHash)
	}
	var n [3]uint32
	for i, one := range []struct {
		name string
		most uint32
	}{{"m", maxMemory}, {"t", maxPasses}, {"p", maxThreads}} {
		digits, named := strings.CutPrefix(fields[i], one.name+"=")
		v, err := strconv.ParseUint(digits, 10, 32)
		if !named || err != nil || v == 0 || strconv.FormatUint(v, 10) != digits {
			return cost{}, fmt.Errorf("%w: its parameters are not m, t and p", errHash)
		}
		if v > uint64(one.most) {
			return cost{}, fmt.Errorf("%w: it asks for %s=%d; at most %d", errHash, one.name, v, one.most)
		}
		n[i] = uint32(v)
	}
	c := cost{memory: n[0], passes: n[1], threads: uint8(n[2])}
	if c.memory < 8*uint32(c.threads) {
		return cost{}, fmt.Errorf("%w: m is less than 8 KiB a thread", errHash)
	}
	return c, nil
}
