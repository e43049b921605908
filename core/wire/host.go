package wire

import (
	"bytes"
	"net/netip"
)

const (
	maxHost = 255 + len(":65535") // bytes of a name with its port
	maxPort = 65535
)

// checkHost says whether host is a name or an address with an optional port.
func checkHost(host []byte) *Violation {
	_, _, v := splitHost(host)
	return v
}

// splitHost cuts a Host value into name and port. The grammar is RFC 3986 §3.2.2
// less what no host name has: userinfo, escapes, sub-delims ("h,x" is two hosts to
// some).
func splitHost(host []byte) (name, port []byte, v *Violation) {
	if len(host) == 0 {
		return host, nil, nil
	}
	if len(host) > maxHost {
		return nil, nil, errHost
	}
	if host[0] == '[' {
		return splitLiteral(host)
	}
	name = host
	if colon := bytes.IndexByte(host, ':'); colon >= 0 {
		name, port = host[:colon], host[colon+1:]
	}
	if !validName(name) || !validPort(port) {
		return nil, nil, errHost
	}
	return name, port, nil
}

// splitLiteral reads "[IPv6]" with an optional port; zones are of one machine only.
func splitLiteral(host []byte) (name, port []byte, v *Violation) {
	end := bytes.IndexByte(host, ']')
	if end < 0 {
		return nil, nil, errHost
	}
	name, port = host[:end+1], host[end+1:]
	if len(port) > 0 {
		if port[0] != ':' {
			return nil, nil, errHost
		}
		port = port[1:]
	}
	address, err := netip.ParseAddr(string(name[1:end]))
	if err != nil || !address.Is6() || address.Zone() != "" || !validPort(port) {
		return nil, nil, errHost
	}
	return name, port, nil
}

// validName wants labels of unreserved characters; one dot may end it.
func validName(name []byte) bool {
	if len(name) == 0 || name[0] == '.' {
		return false
	}
	for i, c := range name {
		if !is(c, unreserved) || c == '.' && i > 0 && name[i-1] == '.' {
			return false
		}
	}
	return true
}

func validPort(port []byte) bool {
	if len(port) > 5 {
		return false
	}
	n := 0
	for _, c := range port {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= maxPort
}

// CanonicalHost cuts a Host value into its name, in lower case and without the dot
// that may end it, and its port. An empty host, as HTTP/1.0 has it, stays empty.
// The results are parts of host where nothing had to be changed, else of dst. The
// error is a *Violation.
func CanonicalHost(dst, host []byte) (name, port []byte, err error) {
	name, port, v := splitHost(host)
	if v != nil {
		return nil, nil, v
	}
	if n := len(name); n > 1 && name[n-1] == '.' {
		name = name[:n-1]
	}
	if len(name) > 0 && name[0] == '[' {
		return canonicalLiteral(dst, name), port, nil
	}
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			return lowered(dst, name), port, nil
		}
	}
	return name, port, nil
}

// canonicalLiteral writes "[IPv6]" as RFC 5952 does: one address has many texts.
func canonicalLiteral(dst, name []byte) []byte {
	start := len(dst)
	address, err := netip.ParseAddr(string(name[1 : len(name)-1]))
	if err != nil {
		return name // splitHost has parsed the same bytes
	}
	dst = address.AppendTo(append(dst, '['))
	return append(dst, ']')[start:]
}

func lowered(dst, name []byte) []byte {
	start := len(dst)
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst[start:]
}
