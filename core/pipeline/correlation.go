package pipeline

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// HeaderCorrelationID is the field that every request to a service and every
// response carries (SPEC F3).
const HeaderCorrelationID = "X-Correlation-ID"

// AppendCorrelationID appends the caller's id if it is 1–128 of
// [A-Za-z0-9._-], else a fresh one of 128 random bits.
func AppendCorrelationID(dst, presented []byte) []byte {
	if validCorrelationID(presented) {
		return append(dst, presented...)
	}
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], rand.Uint64())
	binary.BigEndian.PutUint64(raw[8:], rand.Uint64())
	return hex.AppendEncode(dst, raw[:])
}

// Correlate gives the exchange its id: the presented one if it may be kept.
func (x *Exchange) Correlate(presented []byte) {
	x.idLength = len(AppendCorrelationID(x.correlation[:0], presented))
}

func validCorrelationID(id []byte) bool {
	if len(id) == 0 || len(id) > 128 {
		return false
	}
	for _, c := range id {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
