//go:build !race

package wire

import (
	"bufio"
	"bytes"
	"io"
	"testing"
)

const browserHead = "GET /content/courses/42?lang=en HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" +
	"Accept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\nConnection: keep-alive\r\nCookie: a=b; c=d\r\nX-Correlation-ID: 0123456789\r\n\r\n"

func TestAllocs0(t *testing.T) {
	head, room := []byte(browserHead), make([]byte, 0, 64)
	body := []byte("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX: y\r\n\r\n")
	response := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
	odd, dots, host := []byte("X_User_ID"), []byte("/a//b/%2e%2e/c%c3%a4"), []byte("API.example.com:80")
	var requests RequestScanner
	var responses ResponseScanner
	var chunked ChunkedReader
	source, p := bytes.NewReader(nil), make([]byte, 64)
	br := bufio.NewReaderSize(source, 512)
	for name, f := range map[string]func(){
		"request head":       func() { requests.Reset(testLimits); _, _ = requests.Scan(head) },
		"request chunks":     func() { requests.Reset(testLimits); _, _ = requests.Scan(body) },
		"split request head": func() { requests.Reset(testLimits); _, _ = requests.Scan(head[:50]); _, _ = requests.Scan(head[50:]) },
		"response head":      func() { responses.Reset(testLimits); _, _ = responses.Scan(response) },
		"reserved name":      func() { _ = Reserved(odd) },
		"changed path":       func() { _, _, _ = CanonicalPath(room, dots, PathOptions{}) },
		"changed host":       func() { _, _, _ = CanonicalHost(room, host) },
		"chunked body decoded": func() {
			source.Reset(body[bytes.Index(body, []byte("\r\n\r\n"))+4:])
			br.Reset(source)
			chunked.Reset(br, testLimits)
			for err := error(nil); err != io.EOF; _, err = chunked.Read(p) {
			}
		},
	} {
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkRequestHead(b *testing.B) {
	head := []byte(browserHead)
	var s RequestScanner
	b.ReportAllocs()
	for b.Loop() {
		s.Reset(testLimits)
		if _, err := s.Scan(head); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResponseHead(b *testing.B) {
	head := []byte("HTTP/1.1 200 OK\r\nServer: x\r\nDate: Mon, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 128\r\nConnection: keep-alive\r\n\r\n")
	var s ResponseScanner
	b.ReportAllocs()
	for b.Loop() {
		s.Reset(testLimits)
		if _, err := s.Scan(head); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCanonicalPath(b *testing.B) {
	raw := []byte("/content/courses/42/lessons/7")
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = CanonicalPath(nil, raw, PathOptions{})
	}
}
