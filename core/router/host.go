package router

import (
	"bytes"
	"net/netip"
	"strings"
)

// hostKind orders host patterns: what is smaller comes first in the precedence.
type hostKind uint8

const (
	hostExact hostKind = iota
	hostLabel          // {name}.suffix: one label
	hostMany           // *.suffix: one or more labels
	hostAny            // no host asked for
)

// HostPattern is a parsed host pattern: "a.example", "*.example" or
// "{tenant}.example". It is immutable and comparable.
type HostPattern struct {
	kind hostKind
	name string // the exact host, or the suffix without its leading dot
	as   string // the parameter's name
}

// ParseHost parses a host pattern; upper case is lowered, IPv6 addresses stand
// in brackets and are brought into the form of RFC 5952. The error is a
// *[PatternError].
func ParseHost(s string) (HostPattern, error) {
	switch {
	case s == "":
		return HostPattern{}, &PatternError{0, "an empty host"}
	case s == "*":
		return HostPattern{}, &PatternError{0, "leave hosts out to match every host"}
	case s[0] == '[':
		return parseIPv6(s)
	case strings.HasPrefix(s, "*."):
		return parseSuffix(HostPattern{kind: hostMany}, s, 2)
	case s[0] == '{':
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return HostPattern{}, &PatternError{0, "a { without its }"}
		}
		name := s[1:end]
		if strings.IndexFunc(name, func(r rune) bool { return r > 0x7f || !isNameByte(byte(r)) }) >= 0 || !validName(name) {
			return HostPattern{}, &PatternError{0, "a parameter needs a name of letters, digits, _ and -, beginning with a letter or _"}
		}
		if !strings.HasPrefix(s[end+1:], ".") {
			return HostPattern{}, &PatternError{end + 1, "a host parameter is the first label: {" + name + "}.suffix"}
		}
		return parseSuffix(HostPattern{kind: hostLabel, as: name}, s, end+2)
	default:
		return parseSuffix(HostPattern{kind: hostExact}, s, 0)
	}
}

// parseIPv6 parses "[address]".
func parseIPv6(s string) (HostPattern, error) {
	if s[len(s)-1] != ']' {
		return HostPattern{}, &PatternError{len(s) - 1, "a host is [address], without a port"}
	}
	addr, err := netip.ParseAddr(s[1 : len(s)-1])
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return HostPattern{}, &PatternError{1, "not an IPv6 address"}
	}
	return HostPattern{kind: hostExact, name: "[" + addr.String() + "]"}, nil
}

// parseSuffix fills in the name, which begins at byte at of s.
func parseSuffix(h HostPattern, s string, at int) (HostPattern, error) {
	name := s[at:]
	if len(s) > 253 {
		return HostPattern{}, &PatternError{253, "a host has at most 253 bytes"}
	}
	for start := 0; ; {
		label := name[start:]
		if i := strings.IndexByte(label, '.'); i >= 0 {
			label = label[:i]
		}
		if err := checkLabel(label, at+start); err != nil {
			return HostPattern{}, err
		}
		if start += len(label) + 1; start > len(name) {
			break
		}
	}
	h.name = strings.ToLower(name)
	return h, nil
}

// checkLabel checks one label of a host that begins at byte at.
func checkLabel(label string, at int) error {
	if label == "" {
		return &PatternError{at, "an empty label: a host is written without a leading, double or final dot"}
	}
	if len(label) > 63 {
		return &PatternError{at, "a label has at most 63 bytes"}
	}
	for i := 0; i < len(label); i++ {
		switch c := label[i]; {
		case isNameByte(c):
		case c == ':':
			return &PatternError{at + i, "a host is written without its port"}
		case c == '*' || c == '{':
			return &PatternError{at + i, "a wildcard is the whole first label, and has a suffix: *.suffix or {name}.suffix"}
		case c >= 0x80:
			return &PatternError{at + i, "write an international name in its ASCII form (xn--…)"}
		default:
			return &PatternError{at + i, "a host has letters, digits, - and _ between its dots"}
		}
	}
	return nil
}

// Names returns the name of the host's parameter as routes know it:
// "host.tenant" for "{tenant}.example".
func (h HostPattern) Names() []string {
	if h.kind != hostLabel {
		return nil
	}
	return []string{"host." + h.as}
}

// String returns the pattern in its canonical spelling.
func (h HostPattern) String() string {
	switch h.kind {
	case hostLabel:
		return "{" + h.as + "}." + h.name
	case hostMany:
		return "*." + h.name
	case hostAny:
		return "any host"
	default:
		return h.name
	}
}

// matches says whether a host in lower case, without port and final dot, fits. An
// address in brackets and a host with an empty first label fit no wildcard.
func (h HostPattern) matches(host []byte) bool {
	switch h.kind {
	case hostAny:
		return true
	case hostExact:
		return string(host) == h.name
	}
	before := len(host) - len(h.name) - 1
	if before < 1 || host[0] == '[' || host[0] == '.' || host[before] != '.' || string(host[before+1:]) != h.name {
		return false
	}
	return h.kind == hostMany || bytes.IndexByte(host[:before], '.') < 0
}

// compareHosts orders host patterns by precedence, then by text.
func compareHosts(a, b HostPattern) int {
	aWild, bWild := a.kind == hostLabel || a.kind == hostMany, b.kind == hostLabel || b.kind == hostMany
	if !aWild || !bWild {
		if a.kind != b.kind {
			return int(a.kind) - int(b.kind)
		}
		return strings.Compare(a.name, b.name)
	}
	// Two suffixes of one host are nested, so that more dots means longer.
	if d := strings.Count(b.name, ".") - strings.Count(a.name, "."); d != 0 {
		return d
	}
	if d := strings.Compare(a.name, b.name); d != 0 {
		return d
	}
	return int(a.kind) - int(b.kind)
}

// trimHost drops the final dot of a fully qualified name.
func trimHost(host []byte) []byte {
	if n := len(host); n > 1 && host[n-1] == '.' {
		return host[:n-1]
	}
	return host
}
