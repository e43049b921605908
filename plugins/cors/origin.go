package cors

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/suuupra/gateway/core/setting"
)

// origin is an entry of the list: an origin as browsers serialise it, "*" or "null".
type origin string

const (
	anyOrigin  origin = "*"
	nullOrigin origin = "null"
)

const (
	wantOrigin   = "an origin such as https://app.example.com or http://localhost:3000"
	wantNoPath   = "an origin without anything behind its host and port"
	wantExact    = "an exact origin: below a wildcard stands whatever host somebody can get there"
	wantASCII    = "an origin with its host in ASCII, as browsers send it (xn--…)"
	wantPort     = "an origin whose port, if any, is a number from 1 to 65535"
	wantAddress  = "an origin whose host is a name, four numbers or an IPv6 address in brackets"
	wantSendable = "an origin that browsers send; pages of this scheme send null"
)

// UnmarshalText reads an origin and makes it what browsers send: scheme and host in
// lower case, no default port. Requests are then compared with it byte by byte.
func (o *origin) UnmarshalText(text []byte) error {
	s := string(text)
	if origin(s) == anyOrigin || origin(s) == nullOrigin {
		*o = origin(s)
		return nil
	}
	read, wrong := parseOrigin(s)
	if wrong != "" {
		return &setting.ValueError{Want: wrong, Suggest: suggest(s)}
	}
	*o = read
	return nil
}

// JSONSchema describes the form of an origin.
func (origin) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": `^(\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/?#@]+)$|\$\{`}
}

// suggest guesses what was meant: a URL without its path, or a host without its scheme.
func suggest(s string) string {
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		scheme, rest = "https", s
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	if read, wrong := parseOrigin(scheme + "://" + strings.TrimSuffix(rest, ".")); wrong == "" {
		return string(read)
	}
	return ""
}

// opaque are schemes whose pages have no origin to name.
var opaque = map[string]bool{"about": true, "blob": true, "data": true, "file": true, "javascript": true}

// defaultPorts are left out of an origin.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseOrigin reads "scheme://host[:port]"; wrong says what would be right.
func parseOrigin(s string) (read origin, wrong string) {
	scheme, rest, found := strings.Cut(s, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case !found || !validScheme(scheme):
		return "", wantOrigin
	case opaque[scheme]:
		return "", wantSendable
	case strings.Contains(rest, "*"):
		return "", wantExact
	case strings.ContainsAny(rest, `/\?#@`):
		return "", wantNoPath
	}
	host, port, wrong := splitAuthority(rest)
	if wrong != "" {
		return "", wrong
	}
	if defaultPorts[scheme] != "" { // only these schemes' hosts are folded by browsers
		if host, wrong = canonicalHost(host); wrong != "" {
			return "", wrong
		}
	} else if !validName(host) {
		return "", wantAddress
	}
	if port != "" && port != defaultPorts[scheme] {
		host += ":" + port
	}
	return origin(scheme + "://" + host), ""
}

// validScheme is RFC 3986 §3.1 in lower case.
func validScheme(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z':
		case i > 0 && (c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return s != ""
}

// splitAuthority cuts host and port; the port has no leading zeros.
func splitAuthority(s string) (host, port, wrong string) {
	end := strings.LastIndexByte(s, ':')
	if end < 0 || end < strings.LastIndexByte(s, ']') {
		return s, "", ""
	}
	n, err := strconv.ParseUint(s[end+1:], 10, 16)
	if err != nil || n == 0 || s[end+1] == '0' {
		return "", "", wantPort
	}
	return s[:end], s[end+1:], ""
}

// canonicalHost returns a host as browsers serialise it (WHATWG URL, host serializer).
func canonicalHost(host string) (canonical, wrong string) {
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !strings.HasSuffix(inner, "]") || !a.Is6() || a.Is4In6() || a.Zone() != "" {
			return "", wantAddress
		}
		return "[" + a.String() + "]", ""
	}
	for i := range len(host) {
		if host[i] >= 0x80 {
			return "", wantASCII
		}
	}
	host = strings.ToLower(host)
	if !validName(host) {
		return "", wantAddress
	}
	// A browser reads every name that ends in a number as an IPv4 address: 127.1 is one.
	if last := host[strings.LastIndexByte(host, '.')+1:]; last[0] >= '0' && last[0] <= '9' && numeric(last) {
		if a, err := netip.ParseAddr(host); err != nil || !a.Is4() {
			return "", wantAddress
		}
	}
	return host, ""
}

// numeric says whether a label is a decimal or hexadecimal number.
func numeric(label string) bool {
	if _, err := strconv.ParseUint(strings.TrimPrefix(label, "0x"), 16, 64); err != nil && label != "0x" {
		return false
	}
	return strings.HasPrefix(label, "0x") || strings.Trim(label, "0123456789") == ""
}

// longestName and longestLabel bound a host name (RFC 1035 §2.3.4).
const (
	longestName  = 253
	longestLabel = 63
)

// validName wants labels of letters, digits, "-" and "_", divided by single dots.
func validName(name string) bool {
	if len(name) > longestName {
		return false
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > longestLabel {
			return false
		}
		for i := range len(label) {
			switch c := label[i]; {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}
