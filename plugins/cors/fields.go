package cors

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// prefix begins every field of the protocol.
const prefix = "Access-Control-"

// strip removes every field of the protocol that a service has set, those of
// tomorrow included.
func strip(h *fasthttp.ResponseHeader) {
	for name := policyField(h); name != nil; name = policyField(h) {
		h.DelBytes(name)
	}
}

// policyField returns the name of a field of the protocol, nil if there is none.
func policyField(h *fasthttp.ResponseHeader) []byte {
	for name := range h.All() {
		if len(name) > len(prefix) && name[0]|0x20 == 'a' && bytes.EqualFold(name[:len(prefix)], prefixBytes) {
			return name
		}
	}
	return nil
}

var (
	prefixBytes = []byte(prefix)
	comma       = []byte(",")
	varyName    = []byte(fasthttp.HeaderVary)

	varyOrigin    = newVary("Origin")
	varyPreflight = newVary("Origin", fasthttp.HeaderAccessControlRequestMethod, fasthttp.HeaderAccessControlRequestHeaders)
)

// vary is names for a Vary field: what caches must know that an answer depends on.
type vary struct {
	names [][]byte
	whole []byte // the value of a field that holds nothing else
}

func newVary(names ...string) vary {
	v := vary{whole: joined(names)}
	for _, name := range names {
		v.names = append(v.names, []byte(name))
	}
	return v
}

// addVary merges v into the Vary lines that stand there. "*" says more than any name.
func addVary(h *fasthttp.ResponseHeader, v vary) {
	lines := h.PeekAll(fasthttp.HeaderVary)
	if len(lines) == 0 {
		h.SetCanonical(varyName, v.whole)
		return
	}
	if named(lines, asterisk) {
		return
	}
	var room [256]byte
	value := room[:0]
	for _, line := range lines {
		value = appendItem(value, bytes.Trim(line, " \t,"))
	}
	for _, name := range v.names {
		if !named(lines, name) {
			value = appendItem(value, name)
		}
	}
	h.DelBytes(varyName)
	h.SetCanonical(varyName, value)
}

func appendItem(dst, item []byte) []byte {
	if len(dst) > 0 && len(item) > 0 {
		dst = append(dst, ", "...)
	}
	return append(dst, item...)
}

// named says whether the lines list a name.
func named(lines [][]byte, name []byte) bool {
	for _, line := range lines {
		for more := true; more; {
			var item []byte
			item, line, more = bytes.Cut(line, comma)
			if bytes.EqualFold(bytes.Trim(item, " \t"), name) {
				return true
			}
		}
	}
	return false
}
