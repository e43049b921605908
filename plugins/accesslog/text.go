package accesslog

import "unicode/utf8"

// maxText is how many bytes a string may have once it is escaped (SECURITY C12).
const maxText = 512

// ellipsis ends a string that was cut, within its maxText bytes.
const ellipsis = `\u2026`

const hexDigits = "0123456789abcdef"

// text is what the encoder takes strings as.
type text interface{ ~string | ~[]byte }

// appendText appends s as a JSON string of at most maxText bytes between its
// quotes. All but printable ASCII is escaped, so that a line can neither end
// early nor steer a terminal; bytes that are no UTF-8 become U+FFFD. A caller's
// string that is too long is cut between two characters and ends with "…".
func appendText[T text](dst []byte, s T) []byte {
	dst = append(dst, '"')
	if len(s) <= maxText && plain(s) {
		return append(append(dst, s...), '"')
	}
	start := len(dst)
	room := start + maxText // where the escaped string must end
	cut := -1               // the last place where an ellipsis still fits
	for i := 0; i < len(s); {
		if len(dst)+len(ellipsis) <= room {
			cut = len(dst)
		}
		size := 1
		if c := s[i]; c < utf8.RuneSelf {
			dst = appendASCII(dst, c)
		} else {
			dst, size = appendRune(dst, s, i)
		}
		if len(dst) > room {
			dst = append(dst[:cut], ellipsis...)
			break
		}
		i += size
	}
	return append(dst, '"')
}

// plain says whether s needs no escapes.
func plain[T text](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func appendASCII(dst []byte, c byte) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c >= ' ' && c <= '~':
		return append(dst, c)
	default:
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
}

// appendRune appends the character that begins at s[i], as UTF-16 as JSON wants,
// and returns how many bytes of s it took.
func appendRune[T text](dst []byte, s T, i int) ([]byte, int) {
	var window [utf8.UTFMax]byte
	r, size := utf8.DecodeRune(window[:copy(window[:], s[i:])])
	if r >= 0x10000 {
		r -= 0x10000
		dst = appendUnit(dst, 0xd800|r>>10)
		return appendUnit(dst, 0xdc00|r&0x3ff), size
	}
	return appendUnit(dst, r), size
}

func appendUnit(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
