package account

import (
	"bufio"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// maxBreached is the most entries of a list: 128 MiB of memory. The full list of Have
// I Been Pwned has a thousand million; its most frequent few million are what people type.
const maxBreached = 16 << 20

// maxBreachedLine is the longest line that is looked at, in bytes: no password is longer.
const maxBreachedLine = maxPasswordBytes

// Breached is a list of passwords that are known to the world. It is immutable and
// may be shared; nil lists none.
type Breached struct {
	// The first 8 bytes of each SHA-1 hash, sorted: at the bound, a good password
	// is taken for a listed one once in 10^12.
	prefixes []uint64
}

// LoadBreached reads the list in a file: on each line a password, or its SHA-1 hash in
// hexadecimal with or without a count behind a colon, as Have I Been Pwned has them.
// Only 8 bytes of each are kept. Errors name the file and the line, never its text.
func LoadBreached(path string) (*Breached, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading breached passwords: %w", err)
	}
	defer file.Close()
	b, err := readBreached(file, maxBreached)
	if err != nil {
		return nil, fmt.Errorf("reading breached passwords from %s: %w", path, err)
	}
	return b, nil
}

func readBreached(r io.Reader, most int) (*Breached, error) {
	var b Breached
	lines := bufio.NewReaderSize(r, maxBreachedLine+len("\r\n"))
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		tooLong := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
		if text != "" && !tooLong {
			if ntlm(text) {
				return nil, fmt.Errorf("line %d is an NTLM hash; the list with SHA-1 hashes is needed", n)
			}
			if len(b.prefixes) == most {
				return nil, fmt.Errorf("line %d: there are more than %d passwords; keep the most frequent ones", n, most)
			}
			b.prefixes = append(b.prefixes, prefixOfLine(text))
		}
		if err != nil {
			break
		}
	}
	slices.Sort(b.prefixes)
	b.prefixes = slices.Clip(slices.Compact(b.prefixes))
	return &b, nil
}

// prefixOfLine is the kept part of the hash that a line holds, or of the password's.
func prefixOfLine(text string) uint64 {
	hash, count, _ := strings.Cut(text, ":")
	if len(hash) == 2*sha1.Size && strings.Trim(count, "0123456789") == "" {
		if raw, err := hex.DecodeString(hash); err == nil {
			return binary.BigEndian.Uint64(raw)
		}
	}
	return prefixOfPassword(text)
}

// prefixOfPassword: SHA-1 only finds an entry in a list; nothing rests on its strength.
func prefixOfPassword(password string) uint64 {
	hash := sha1.Sum([]byte(password))
	return binary.BigEndian.Uint64(hash[:])
}

// ntlm says whether a line is of Have I Been Pwned's other list, which would
// otherwise be taken for odd passwords, and refuse nothing.
func ntlm(text string) bool {
	hash, count, counted := strings.Cut(text, ":")
	_, err := hex.DecodeString(hash)
	return counted && err == nil && len(hash) == 32 && count != "" && strings.Trim(count, "0123456789") == ""
}

// Holds says whether the password is in the list.
func (b *Breached) Holds(password string) bool {
	if b == nil {
		return false
	}
	_, found := slices.BinarySearch(b.prefixes, prefixOfPassword(password))
	return found
}

// Len is how many different passwords are listed.
func (b *Breached) Len() int {
	if b == nil {
		return 0
	}
	return len(b.prefixes)
}
