package apikey_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/apikey"
)

var form = regexp.MustCompile(`^gk_([0-9A-Za-z]{16})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})$`)

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// sumOf is the checksum as the package's documentation says it, in another way than
// the package computes it.
func sumOf(s string) string {
	n := new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(s))))
	text := "000000" + n.Text(62) // big's digits are 0-9a-zA-Z
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c >= 'A' && c <= 'Z':
			return c - 'A' + 'a'
		default:
			return c
		}
	}, text[len(text)-6:])
}

func keyOf(id, secret string) string {
	s := "gk_" + id + "_" + secret
	return s + sumOf(s)
}

func TestI18_FormatOfAKey(t *testing.T) {
	r := newRig(t, nil)
	seen := map[string]bool{}
	for range 200 {
		secret, key := r.create(apikey.NewKey{Name: "n"})
		parts := form.FindStringSubmatch(secret)
		if parts == nil || parts[1] != key.Principal.Key || seen[parts[2]] {
			t.Fatalf("%q is no key of id %s, or came twice", secret, key.Principal.Key)
		}
		if want := keyOf(parts[1], parts[2]); secret != want {
			t.Fatalf("key %s, want %s", secret, want)
		}
		seen[parts[2]] = true
	}
}

// The example of the package's documentation, which others made.
func TestI18_ChecksumIsAsDocumented(t *testing.T) {
	// Made by zlib.crc32 of Python, and by sha256sum.
	const key = "gk_0000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0MpZrg"
	const want = "sha256:3c21069174924715c26ad877c916b4061c0dafd210d2b0b57ecf02420ceb1e77"
	id, h, err := apikey.HashOf(key)
	if err != nil || id != "0000000000000000" {
		t.Fatalf("%s: id %q, error %v", key, id, err)
	}
	if h.String() != want {
		t.Fatalf("hash %s, want %s", h, want)
	}
	again, err := apikey.ParseHash(h.String())
	if err != nil || again != h {
		t.Fatalf("%s is read as %s, %v", h, again, err)
	}
}

func TestI18_RoundTrip(t *testing.T) {
	word := func(n int) *rapid.Generator[string] {
		return rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte(digits)), n, n), func(b []byte) string { return string(b) })
	}
	rapid.Check(t, func(t *rapid.T) {
		id, secret := word(16).Draw(t, "id"), word(43).Draw(t, "secret")
		key := keyOf(id, secret)
		got, h, err := apikey.HashOf(key)
		if err != nil || got != id {
			t.Fatalf("%s: id %q, error %v", key, got, err)
		}
		// One character changed, anywhere, is noticed before any store is asked.
		at := rapid.IntRange(0, len(key)-1).Draw(t, "at")
		c := rapid.SampledFrom([]byte(digits+"_- \x00\n\xff")).Draw(t, "c")
		if c == key[at] {
			return
		}
		changed := key[:at] + string(c) + key[at+1:]
		if _, _, err := apikey.HashOf(changed); !errors.Is(err, apikey.ErrMalformed) {
			t.Fatalf("%q at %d of %s is not noticed: %v", c, at, key, err)
		}
		other := keyOf(id, secret[1:]+secret[:1])
		if _, o, _ := apikey.HashOf(other); (o == h) != (other == key) {
			t.Fatalf("%s and %s have one hash", key, other)
		}
	})
}

func TestI10_AMalformedKeyReachesNoStore(t *testing.T) {
	r := newRig(t, nil)
	good, _ := r.create(apikey.NewKey{Name: "n"})
	r.store.loads.Store(0)
	bad := []string{
		"", "gk_", " " + good, good + " ", good + "\n", good[:68], good + "0", strings.ToUpper(good), "gk-" + good[3:],
		strings.Replace(good, "_", "-", 2), strings.Repeat("x", 69), strings.Repeat("x", 1<<20), good + good, "Bearer " + good,
		good[:20] + "\x00" + good[21:], good[:63] + "000000",
	}
	refused := 0
	for _, key := range bad {
		if key == good {
			continue
		}
		r.wants(key, apikey.ErrMalformed)
		refused++
	}
	if n := r.store.loads.Load(); n != 0 {
		t.Fatalf("the store was asked %d times", n)
	}
	if n := r.refused("malformed"); n != uint64(refused) {
		t.Fatalf("%d refusals were counted, want %d", n, refused)
	}
}

func TestHashesThatAreNone(t *testing.T) {
	good := strings.Repeat("0a", 32)
	for _, bad := range []string{"", good, "sha256:", "sha256:" + good[1:], "sha256:" + good + "0", "sha256:" + strings.ToUpper(good), "sha256:" + good[:63] + "g", "sha512:" + good} {
		if _, err := apikey.ParseHash(bad); !errors.Is(err, apikey.ErrInvalid) || len(bad) > len("sha256:") && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "short", "Key000000000000_", "Key00000000000000", "Key000000000000é"} {
		if err := apikey.CheckID(bad); !errors.Is(err, apikey.ErrInvalid) {
			t.Errorf("%q was taken for an id: %v", bad, err)
		}
	}
}

func FuzzHashOf(f *testing.F) {
	f.Add(keyOf("0123456789abcdef", strings.Repeat("z", 43)))
	f.Add("gk_")
	f.Add("")
	f.Add(strings.Repeat("_", 69))
	f.Fuzz(func(t *testing.T, key string) {
		id, h, err := apikey.HashOf(key)
		parts := form.FindStringSubmatch(key)
		right := parts != nil && keyOf(parts[1], parts[2]) == key
		if (err == nil) != right {
			t.Fatalf("%q: error %v, and by the documentation it is a key: %v", key, err, right)
		}
		if err == nil && (id != parts[1] || h == apikey.Hash{}) {
			t.Fatalf("%q: id %q, hash %s", key, id, h)
		}
		if err != nil && err.Error() != apikey.ErrMalformed.Error() {
			t.Fatalf("%q: %v", key, fmt.Sprint(err))
		}
	})
}
