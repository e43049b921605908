package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// v2 is a header of version 2.
func v2(command, family byte, payload ...byte) string {
	b := append([]byte(nil), proxySignature2...)
	b = append(b, command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return string(append(b, payload...))
}

// value is one typed value of version 2.
func value(kind byte, data ...byte) []byte {
	return append([]byte{kind, byte(len(data) >> 8), byte(len(data))}, data...)
}

// tcp4 is 192.0.2.1:4711 → 198.51.100.1:443.
func tcp4(values ...byte) []byte {
	return append([]byte{192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 1, 187}, values...)
}

func tcp6(source string) []byte {
	a, b := netip.MustParseAddr(source).As16(), netip.MustParseAddr("2001:db8::2").As16()
	return append(append(append([]byte(nil), a[:]...), b[:]...), 0x12, 0x67, 1, 187)
}

// withChecksum is a header with a CRC-32C behind its addresses; wrong is added to it.
func withChecksum(wrong uint32) string {
	b := []byte(v2(0x21, proxyTCP4, tcp4(append(value(0x04, 1, 2), value(proxyTypeCRC, 0, 0, 0, 0)...)...)...))
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(b[len(b)-4:], sum+wrong)
	return string(b)
}

func TestC10_ProxyHeader(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		client   string // "": none is named
		err      error
	}{
		{"v1 IPv4", "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n", "192.0.2.1:4711", nil},
		{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", "[2001:db8::1]:4711", nil},
		{"v1 mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 0 65535\r\n", "192.0.2.1:0", nil},
		{"v1 longest", "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff " + strings.Repeat("6", 107-48) + "\r\n", "", nil},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "", nil},
		{"v1 unknown, anything", "PROXY UNKNOWN \x00 TCP4\r\n", "", nil},
		{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("x", 107-14), "", errProxyLong},
		{"v1 line feed only", "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\n" + strings.Repeat("x", 70), "", errProxyLong},
		{"v1 two spaces", "PROXY TCP4  192.0.2.1 198.51.100.1 4711 443\r\n", "", errProxyBad},
		{"v1 space at the end", "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 \r\n", "", errProxyBad},
		{"v1 lower case", "PROXY tcp4 192.0.2.1 198.51.100.1 4711 443\r\n", "", errProxyBad},
		{"v1 UDP", "PROXY UDP4 192.0.2.1 198.51.100.1 4711 443\r\n", "", errProxyBad},
		{"v1 other family", "PROXY TCP4 2001:db8::1 198.51.100.1 4711 443\r\n", "", errProxyBad},
		{"v1 other family, reversed", "PROXY TCP6 192.0.2.1 2001:db8::2 4711 443\r\n", "", errProxyBad},
		{"v1 mixed families", "PROXY TCP4 192.0.2.1 2001:db8::2 4711 443\r\n", "", errProxyBad},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 2001:db8::2 4711 443\r\n", "", errProxyBad},
		{"v1 name", "PROXY TCP4 localhost 198.51.100.1 4711 443\r\n", "", errProxyBad},
		{"v1 octal", "PROXY TCP4 192.0.02.1 198.51.100.1 4711 443\r\n", "", errProxyBad},
		{"v1 port beyond", "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n", "", errProxyBad},
		{"v1 port with zeros", "PROXY TCP4 192.0.2.1 198.51.100.1 04711 443\r\n", "", errProxyBad},
		{"v1 port with a sign", "PROXY TCP4 192.0.2.1 198.51.100.1 4711 +43\r\n", "", errProxyBad},
		{"v1 no target port", "PROXY TCP4 192.0.2.1 198.51.100.1 4711 \r\n", "", errProxyBad},
		{"v1 words missing", "PROXY TCP4 192.0.2.1\r\n", "", errProxyBad},
		{"v1 nothing", "PROXY \r\n", "", errProxyBad},
		{"v2 IPv4", v2(0x21, proxyTCP4, tcp4()...), "192.0.2.1:4711", nil},
		{"v2 IPv6", v2(0x21, proxyTCP6, tcp6("2001:db8::1")...), "[2001:db8::1]:4711", nil},
		{"v2 mapped", v2(0x21, proxyTCP6, tcp6("::ffff:192.0.2.1")...), "192.0.2.1:4711", nil},
		{"v2 values", v2(0x21, proxyTCP4, tcp4(append(value(0x20, make([]byte, 300)...), value(0xEA)...)...)...), "192.0.2.1:4711", nil},
		{"v2 checksum", withChecksum(0), "192.0.2.1:4711", nil},
		{"v2 wrong checksum", withChecksum(1), "", errProxyBad},
		{"v2 short checksum", v2(0x21, proxyTCP4, tcp4(value(proxyTypeCRC, 1, 2, 3)...)...), "", errProxyBad},
		{"v2 value cut", v2(0x21, proxyTCP4, tcp4(4, 0, 2, 1)...), "", errProxyBad},
		{"v2 value head cut", v2(0x21, proxyTCP4, tcp4(4, 0)...), "", errProxyBad},
		{"v2 local", v2(0x20, proxyUnspec), "", nil},
		{"v2 local, odd family", v2(0x20, 0xff, 1, 2, 3), "", nil},
		{"v2 unspec", v2(0x21, proxyUnspec, 1, 2, 3), "", nil},
		{"v2 unix", v2(0x21, proxyUnix, make([]byte, 216)...), "", nil},
		{"v2 unix cut", v2(0x21, proxyUnix, make([]byte, 215)...), "", errProxyBad},
		{"v2 datagrams", v2(0x21, 0x12, tcp4()...), "", errProxyBad},
		{"v2 IPv4 cut", v2(0x21, proxyTCP4, tcp4()[:11]...), "", errProxyBad},
		{"v2 IPv6 in the room of IPv4", v2(0x21, proxyTCP6, tcp4()...), "", errProxyBad},
		{"v2 of version 1", v2(0x11, proxyTCP4, tcp4()...), "", errProxyBad},
		{"v2 unknown command", v2(0x22, proxyTCP4, tcp4()...), "", errProxyBad},
		{"v2 largest", v2(0x20, 0, make([]byte, mostProxyV2)...), "", nil},
		{"v2 too large", v2(0x20, 0, make([]byte, mostProxyV2+1)...), "", errProxyLong},
		{"no header", "GET / HTTP/1.1\r\n", "", errProxyMissing},
		{"TLS", "\x16\x03\x01", "", errProxyMissing},
		{"almost v1", "PROXYTCP4", "", errProxyMissing},
		{"almost v2", "\r\n\r\n\x00\r\nQUIT\r", "", errProxyMissing},
	}
	for _, tt := range tests {
		behind := "GET / HTTP/1.1\r\n\r\n"
		client, n, err := parseProxyHeader([]byte(tt.in + behind))
		want := netip.AddrPort{}
		if tt.client != "" {
			want = netip.MustParseAddrPort(tt.client)
		}
		if client != want || err != tt.err || err == nil && n != len(tt.in) || err != nil && n != 0 {
			t.Errorf("%s: got %v, %d, %v; want %v, %d, %v", tt.name, client, n, err, want, len(tt.in), tt.err)
		}
		if tt.err == nil {
			for i := range len(tt.in) {
				if _, _, err := parseProxyHeader([]byte(tt.in[:i])); err != errProxyIncomplete {
					t.Errorf("%s: after %d bytes: %v", tt.name, i, err)
				}
			}
		}
	}
}

// TestC10_ProxyHeaderRoundTrip: what a balancer announces is what is read.
func TestC10_ProxyHeaderRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
		port := rapid.Uint16().Draw(t, "port")
		values := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "value")
		v6 := rapid.Bool().Draw(t, "v6")
		var client netip.Addr
		var payload []byte
		family, word := byte(proxyTCP4), "TCP4"
		if v6 {
			client, family, word = netip.AddrFrom16([16]byte(raw)), proxyTCP6, "TCP6"
			payload = append(append([]byte(nil), raw...), raw...)
		} else {
			client = netip.AddrFrom4([4]byte(raw))
			payload = append(append([]byte(nil), raw[:4]...), raw[:4]...)
		}
		payload = binary.BigEndian.AppendUint16(payload, port)
		payload = append(binary.BigEndian.AppendUint16(payload, 1), value(0x05, values...)...)
		want := netip.AddrPortFrom(client.Unmap(), port)
		got, _, err := parseProxyHeader([]byte(v2(0x21, family, payload...)))
		if err != nil || got != want {
			t.Fatalf("v2: got %v, %v; want %v", got, err, want)
		}
		line := "PROXY " + word + " " + client.String() + " " + client.String() + " " + itoa(port) + " 1\r\n"
		got, _, err = parseProxyHeader([]byte(line))
		if err != nil || got != want {
			t.Fatalf("v1 %q: got %v, %v; want %v", line, got, err, want)
		}
	})
}

func itoa(n uint16) string {
	return netip.AddrPortFrom(netip.IPv4Unspecified(), n).String()[len("0.0.0.0:"):]
}

// FuzzProxyHeader: no bytes make it panic or look behind the header, and more
// bytes never change a verdict.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\nGET"))
	f.Add([]byte(v2(0x21, proxyTCP4, tcp4(value(4, 1)...)...)))
	f.Add([]byte(withChecksum(0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, n, err := parseProxyHeader(b)
		if n > len(b) || n > longestProxyHeader || (err == nil) != (n > 0) {
			t.Fatalf("%d of %d bytes, %v", n, len(b), err)
		}
		if errors.Is(err, errProxyIncomplete) {
			if len(b) >= longestProxyHeader {
				t.Fatal("never satisfied")
			}
			return
		}
		again, m, err2 := parseProxyHeader(append(bytes.Clone(b), "more"...))
		if again != client || m != n || err2 != err {
			t.Fatalf("with more bytes: %v %d %v, without: %v %d %v", again, m, err2, client, n, err)
		}
		if err == nil {
			if only, m, err := parseProxyHeader(bytes.Clone(b[:n])); only != client || m != n || err != nil {
				t.Fatalf("alone: %v %d %v", only, m, err)
			}
		}
	})
}
