package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strconv"
)

// PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt has it.

const (
	longestProxyV1 = 107     // a line with its end (§2.1)
	proxyV2Fixed   = 16      // signature, version and command, family, length (§2.2)
	mostProxyV2    = 4 << 10 // addresses and further values; balancers send some hundred bytes
)

// longestProxyHeader is the room that any header fits in.
const longestProxyHeader = proxyV2Fixed + mostProxyV2

// What is wrong with a header; errProxyIncomplete alone may be cured by more bytes.
var (
	errProxyIncomplete = errors.New("the PROXY header is not complete yet")
	errProxyMissing    = errors.New("the connection begins with no PROXY header")
	errProxyBad        = errors.New("the PROXY header is malformed")
	errProxyLong       = errors.New("the PROXY header is too long")
)

var (
	proxySignature1 = []byte("PROXY ")
	proxySignature2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
	lineEnd         = []byte("\r\n")
)

// parseProxyHeader reads the header that b begins with. It returns the address of
// the client, or the zero AddrPort where the header names none (LOCAL, UNKNOWN,
// UNSPEC and sockets of one machine: the connection is the balancer's own), and
// the length of the header. It looks at nothing behind that.
func parseProxyHeader(b []byte) (client netip.AddrPort, n int, err error) {
	switch {
	case hasPrefix(b, proxySignature2):
		return parseProxyV2(b)
	case hasPrefix(b, proxySignature1):
		return parseProxyV1(b)
	case hasPrefix(proxySignature2, b), hasPrefix(proxySignature1, b):
		return netip.AddrPort{}, 0, errProxyIncomplete
	default:
		return netip.AddrPort{}, 0, errProxyMissing
	}
}

func hasPrefix(b, prefix []byte) bool { return bytes.HasPrefix(b, prefix) }

// parseProxyV1 reads a line such as "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443".
func parseProxyV1(b []byte) (client netip.AddrPort, n int, err error) {
	line, _, ended := bytes.Cut(b[:min(len(b), longestProxyV1)], lineEnd)
	if !ended {
		if len(b) >= longestProxyV1 {
			return netip.AddrPort{}, 0, errProxyLong
		}
		return netip.AddrPort{}, 0, errProxyIncomplete
	}
	n = len(line) + len(lineEnd)
	words := bytes.Split(line[len(proxySignature1):], []byte(" "))
	if string(words[0]) == "UNKNOWN" {
		return netip.AddrPort{}, n, nil // whatever follows is to be ignored (§2.1)
	}
	if len(words) != 5 {
		return netip.AddrPort{}, 0, errProxyBad
	}
	v6 := string(words[0]) == "TCP6"
	if !v6 && string(words[0]) != "TCP4" {
		return netip.AddrPort{}, 0, errProxyBad
	}
	source, okSource := parseProxyText(words[1], words[3], v6)
	_, okTarget := parseProxyText(words[2], words[4], v6)
	if !okSource || !okTarget {
		return netip.AddrPort{}, 0, errProxyBad
	}
	return source, n, nil
}

// parseProxyText reads an address of the family that was announced, and a port.
func parseProxyText(address, port []byte, v6 bool) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(string(address))
	if err != nil || a.Zone() != "" || a.Is6() != v6 {
		return netip.AddrPort{}, false
	}
	p, err := strconv.ParseUint(string(port), 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' || port[0] == '+' {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), true
}

// Of the bytes behind the signature of version 2.
const (
	proxyV2       = 0x20 // high half of the first: the version
	proxyLocal    = 0x00 // low half: the balancer's own connection, such as a probe
	proxyProxied  = 0x01 // low half: on behalf of a client
	proxyUnspec   = 0x00 // the second: family and transport
	proxyTCP4     = 0x11
	proxyTCP6     = 0x21
	proxyUnix     = 0x31
	proxySizeTCP4 = 2*4 + 2*2
	proxySizeTCP6 = 2*16 + 2*2
	proxySizeUnix = 2 * 108
)

// parseProxyV2 reads the binary form.
func parseProxyV2(b []byte) (client netip.AddrPort, n int, err error) {
	if len(b) < proxyV2Fixed {
		return netip.AddrPort{}, 0, errProxyIncomplete
	}
	command, family := b[12], b[13]
	size := int(binary.BigEndian.Uint16(b[14:]))
	if command != proxyV2|proxyLocal && command != proxyV2|proxyProxied {
		return netip.AddrPort{}, 0, errProxyBad
	}
	if size > mostProxyV2 {
		return netip.AddrPort{}, 0, errProxyLong
	}
	n = proxyV2Fixed + size
	if len(b) < n {
		return netip.AddrPort{}, 0, errProxyIncomplete
	}
	if command == proxyV2|proxyLocal {
		return netip.AddrPort{}, n, nil // the family and all else are to be ignored (§2.2)
	}
	client, values, ok := proxyAddress(family, b[proxyV2Fixed:n])
	if !ok || !checkProxyValues(b[:n], n-len(values)) {
		return netip.AddrPort{}, 0, errProxyBad
	}
	return client, n, nil
}

// proxyAddress takes the addresses off what follows the fixed part. What comes over
// datagrams can't arrive by a connection.
func proxyAddress(family byte, b []byte) (client netip.AddrPort, rest []byte, ok bool) {
	size := 0
	switch family {
	case proxyUnspec:
		return netip.AddrPort{}, nil, true // the rest is to be ignored (§2.2)
	case proxyTCP4:
		size = proxySizeTCP4
	case proxyTCP6:
		size = proxySizeTCP6
	case proxyUnix:
		size = proxySizeUnix
	}
	if size == 0 || len(b) < size {
		return netip.AddrPort{}, nil, false
	}
	switch family {
	case proxyTCP4:
		client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[8:]))
	case proxyTCP6:
		client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), binary.BigEndian.Uint16(b[32:]))
	}
	return client, b[size:], true
}

const (
	proxyTypeCRC  = 0x03
	proxyCRCBytes = 4
)

// checkProxyValues steps over the typed values of header, which begin at start. They
// must fill it to the end, and a checksum among them must be right (§2.2.3).
func checkProxyValues(header []byte, start int) bool {
	for at := start; at < len(header); {
		if len(header)-at < 3 {
			return false
		}
		kind, size := header[at], int(binary.BigEndian.Uint16(header[at+1:]))
		at += 3
		if len(header)-at < size {
			return false
		}
		if kind == proxyTypeCRC && !proxyChecksum(header, at, size) {
			return false
		}
		at += size
	}
	return true
}

// proxyChecksum says whether the CRC-32C at header[at:] is that of the header with
// zeros in its place.
func proxyChecksum(header []byte, at, size int) bool {
	if size != proxyCRCBytes {
		return false
	}
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, castagnoli, header[:at])
	sum = crc32.Update(sum, castagnoli, make([]byte, proxyCRCBytes))
	sum = crc32.Update(sum, castagnoli, header[at+proxyCRCBytes:])
	return sum == binary.BigEndian.Uint32(header[at:])
}
