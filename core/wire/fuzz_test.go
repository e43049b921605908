package wire

import (
	"bufio"
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"
)

// This is a second parser, as slow and plain as can be: regular expressions over a
// whole message. It was written from RFC 9112 and SECURITY, not from the scanner,
// and the fuzz targets hold the two to the same verdict.

const (
	tokens = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
	values = "[\\t -~\u0080-\u00ff]*"
	fields = "((?:" + tokens + ":" + values + "\r\n)*)\r\n"
)

var (
	requestText  = regexp.MustCompile("^(?:\r\n)?([!#$%&'*+.^_`|~0-9A-Z-]{1,24}) ([!-\"$-~]+) HTTP/1\\.([01])\r\n" + fields)
	responseText = regexp.MustCompile("^HTTP/1\\.([01]) ([1-5][0-9][0-9])(?: " + values + ")?\r\n" + fields)
	lengthText   = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})$`)
	hostText     = regexp.MustCompile(`^([0-9A-Za-z_~-]+(\.[0-9A-Za-z_~-]+)*\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?$`)
	absoluteText = regexp.MustCompile(`^(?i:https?)://([^/?]+)`)
	chunkText    = regexp.MustCompile("^([0-9A-Fa-f]{1,15})(;[\\t -~\u0080-\u00ff]*)?\r\n")
	trailerText  = regexp.MustCompile("^" + fields)
)

// latin makes each byte one character, so that expressions see bytes.
func latin(raw []byte) string {
	var b strings.Builder
	for _, c := range raw {
		b.WriteRune(rune(c))
	}
	return b.String()
}

// slowFields maps lower-case names to their values.
func slowFields(lines string) map[string][]string {
	m := map[string][]string{}
	for _, line := range strings.Split(strings.TrimSuffix(lines, "\r\n"), "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			m[strings.ToLower(name)] = append(m[strings.ToLower(name)], strings.Trim(value, " \t"))
		}
	}
	return m
}

// slowFraming returns the body's length (-1 chunked, -2 not said).
func slowFraming(m map[string][]string, minor string) (length string, ok bool) {
	coding, lengths := m["transfer-encoding"], m["content-length"]
	switch {
	case len(coding) > 1 || len(lengths) > 1 || len(coding) > 0 && len(lengths) > 0:
		return "", false
	case len(coding) == 1:
		return "-1", strings.EqualFold(coding[0], "chunked") && minor == "1"
	case len(lengths) == 1:
		return lengths[0], lengthText.MatchString(lengths[0])
	}
	return "-2", true
}

var slowProtected = " host content-length transfer-encoding content-type authorization cookie x-api-key origin expect idempotency-key "

func slowConnection(lines []string) bool {
	for _, name := range strings.Split(strings.Join(lines, ","), ",") {
		name = strings.ToLower(strings.Trim(name, " \t"))
		if name != "" && (!regexp.MustCompile("^"+tokens+"$").MatchString(name) || strings.Contains(slowProtected, " "+name+" ")) {
			return false
		}
	}
	return true
}

func slowRequest(raw []byte) (length string, size int, ok bool) {
	text := latin(raw)
	g := requestText.FindStringSubmatch(text)
	if g == nil {
		return "", 0, false
	}
	method, target, minor, m := g[1], g[2], g[3], slowFields(g[4])
	host := m["host"]
	absolute := absoluteText.FindStringSubmatch(target)
	for name := range m {
		folded := strings.NewReplacer("_", "-", ".", "-").Replace(name)
		if folded != name && (folded == "content-length" || folded == "transfer-encoding") {
			return "", 0, false
		}
	}
	length, ok = slowFraming(m, minor)
	switch {
	case !ok, !slowConnection(m["connection"]), len(m["content-type"]) > 1, len(host) > 1:
	case len(host) == 0 && (minor == "1" || absolute != nil && method != "CONNECT"):
	case len(host) == 1 && (!hostText.MatchString(host[0]) || !slowHost(host[0])):
	case method == "CONNECT", target[0] == '/', target == "*" && method == "OPTIONS", absolute != nil && strings.EqualFold(absolute[1], host[0]):
		for _, e := range m["expect"] {
			ok = ok && strings.EqualFold(e, "100-continue") && minor == "1"
		}
		return length, len(latinBytes(g[0])), ok
	}
	return "", 0, false
}

// slowHost checks what the expression can't: ports and IPv6 texts.
func slowHost(host string) bool {
	_, _, err := CanonicalHost(nil, latinBytes(host))
	return err == nil
}

func latinBytes(s string) []byte {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}

var wide = &Limits{URI: 1 << 20, Header: 1 << 20, Headers: 1 << 20}

func FuzzRequestHead(f *testing.F) {
	for _, c := range refusals {
		f.Add([]byte(c.raw))
	}
	for _, c := range acceptances {
		f.Add([]byte(c.raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s RequestScanner
		s.Reset(wide)
		n, err := s.Scan(raw)
		length, size, ok := slowRequest(raw)
		if s.HeadDone() != ok {
			t.Fatalf("%q: head done %v after %d bytes with %v; the slow parser says %v", raw, s.HeadDone(), n, err, ok)
		}
		if !ok {
			return
		}
		h := s.Head()
		if got := h.ContentLength; length == "-1" != (got == -1) || length == "-2" != (got == -2) {
			t.Fatalf("%q: length %d, the slow parser says %s", raw, got, length)
		}
		if skipped := size - h.Bytes; skipped != 0 && skipped != 2 {
			t.Fatalf("%q: head of %d bytes, the slow parser says %d", raw, h.Bytes, size)
		}
	})
}

func FuzzResponseHead(f *testing.F) {
	for _, raw := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.0 404\r\n\r\n", "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 099 X\r\n\r\n"} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s ResponseScanner
		s.Reset(wide)
		done, err := s.Scan(raw)
		g := responseText.FindStringSubmatch(latin(raw))
		ok := g != nil
		if ok {
			m := slowFields(g[3])
			_, ok = slowFraming(m, g[1])
			ok = ok && slowConnection(m["connection"])
			for name := range m {
				folded := strings.NewReplacer("_", "-", ".", "-").Replace(name)
				ok = ok && (folded == name || folded != "content-length" && folded != "transfer-encoding")
			}
		}
		if done != ok {
			t.Fatalf("%q: %v with %v; the slow parser says %v", raw, done, err, ok)
		}
	})
}

// slowChunks decodes a whole chunked body.
func slowChunks(raw []byte) (body []byte, ok bool) {
	text := latin(raw)
	extensions := 0
	for {
		g := chunkText.FindStringSubmatch(text)
		if g == nil {
			return nil, false
		}
		if extensions += len([]rune(g[2])); len(g[2]) > 0 {
			extensions-- // the semicolon
		}
		text = text[len(g[0]):]
		size := 0
		for _, c := range []byte(strings.ToLower(g[1])) {
			size = size*16 + strings.IndexByte("0123456789abcdef", c)
		}
		if extensions > 4<<10 {
			return nil, false
		}
		if size == 0 {
			break
		}
		runes := []rune(text)
		if len(runes) < size+2 || string(runes[size:size+2]) != "\r\n" {
			return nil, false
		}
		body = append(body, latinBytes(string(runes[:size]))...)
		text = string(runes[size+2:])
	}
	g := trailerText.FindStringSubmatch(text)
	if g == nil {
		return nil, false
	}
	for name := range slowFields(g[1]) {
		for _, forbidden := range []string{"transfer-encoding", "content-length", "host", "connection", "trailer", "content-encoding", "content-type"} {
			if name == forbidden {
				return nil, false
			}
		}
		folded := strings.NewReplacer("_", "-", ".", "-").Replace(name)
		if folded != name && (folded == "content-length" || folded == "transfer-encoding") {
			return nil, false
		}
	}
	return body, true
}

func FuzzChunked(f *testing.F) {
	for _, raw := range []string{"3\r\nabc\r\n0\r\n\r\n", "3;a\r\nabc\r\n0;b\r\nX: y\r\n\r\n", "0\r\nHost: y\r\n\r\n", "3 \r\nabc\r\n", "ffffffffffffffff\r\n"} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r ChunkedReader
		r.Reset(bufio.NewReaderSize(bytes.NewReader(raw), 32), wide)
		body, err := io.ReadAll(&r)
		want, ok := slowChunks(raw)
		if (err == nil) != ok || ok && !bytes.Equal(body, want) {
			t.Fatalf("%q: %q, %v; the slow parser says %q, %v", raw, body, err, want, ok)
		}
		agree(t, raw, []int{1 + len(raw)/3, 1, 2 + len(raw)/7})
	})
}

func FuzzPath(f *testing.F) {
	for _, raw := range []string{"/", "/a//b/../c%2fd", "/%2e%2e;x", "/a%c3%a4", "//..//", "/a/./b/%2E"} {
		f.Add([]byte(raw), true, true)
		f.Add([]byte(raw), false, false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, encoded, double bool) {
		o := PathOptions{EncodedSlashes: encoded, DoubleSlashes: double}
		path, flags, err := CanonicalPath(nil, raw, o)
		if err != nil {
			return
		}
		if again, more, err := CanonicalPath(nil, path, o); err != nil || !bytes.Equal(again, path) {
			t.Fatalf("%q is %q, which is %q (%b, %v)", raw, path, again, more, err)
		}
		if flags&PathChanged == 0 && !bytes.Equal(path, raw) {
			t.Fatalf("%q became %q without a flag", raw, path)
		}
		if err := CheckRewritten(path); err != nil {
			t.Fatalf("%q is %q, which could not be sent: %v", raw, path, err)
		}
		if !double && bytes.Contains(path, []byte("//")) {
			t.Fatalf("%q is %q", raw, path)
		}
	})
}

func FuzzHost(f *testing.F) {
	for _, raw := range []string{"h", "API.x:80", "[::1]:8", "a..b", "u@h", "[FE80::1]"} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		name, port, err := CanonicalHost(nil, raw)
		if err != nil || len(raw) == 0 {
			return
		}
		if !hostText.MatchString(latin(raw)) {
			t.Fatalf("%q passed as %q", raw, name)
		}
		again, _, err := CanonicalHost(nil, name)
		if err != nil || !bytes.Equal(again, name) {
			t.Fatalf("%q is %q (port %q), which is %q, %v", raw, name, port, again, err)
		}
	})
}
