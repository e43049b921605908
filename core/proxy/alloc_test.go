//go:build !race

package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"testing"
)

// fixed is an origin that answers without a byte of garbage: allocations of the
// whole process are what the tests below count.
func fixed(answer string) func(*link) {
	raw := []byte(answer)
	return func(l *link) {
		buf := make([]byte, 1<<20)
		have := 0
		for {
			n, err := l.Conn.Read(buf[have:])
			if err != nil {
				return
			}
			have += n
			for {
				end := bytes.Index(buf[:have], []byte("\r\n\r\n"))
				if end < 0 {
					break
				}
				length := 0
				if i := bytes.Index(buf[:end+2], []byte("Content-Length: ")); i >= 0 {
					for _, c := range buf[i+len("Content-Length: ") : end+2] {
						if c < '0' || c > '9' {
							break
						}
						length = length*10 + int(c-'0')
					}
				}
				if have < end+4+length {
					break
				}
				copy(buf, buf[end+4+length:have])
				have -= end + 4 + length
				if _, err := l.Conn.Write(raw); err != nil {
					return
				}
			}
		}
	}
}

func TestAllocs(t *testing.T) {
	body := func(n int) string { return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", n, fill(n)) }
	get := "GET /a?b=c HTTP/1.1\r\nHost: f\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\nConnection: keep-alive\r\n\r\n"
	chunks := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(fill(60_000)) + chunk(fill(60_000)) + "0\r\n\r\n"
	for _, c := range []struct {
		name, request, answer, end string
		want                       float64
	}{
		{"GET", get, body(100), "", 0},
		{"GET, short chunks", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("abc") + "0\r\n\r\n", "", 0},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: f\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "\r\n\r\n", 0},
		{"GET of 32 KiB", get, body(32 << 10), "", 0},
		{"GET of 128 KiB, streamed", get, body(128 << 10), "", 1},
		{"GET of 120 kB in chunks, streamed", get, chunks, "0\r\n\r\n", 1},
		{"POST", "POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc", body(10), "", 1},
		{"GET with forwarded fields of a stranger", "GET / HTTP/1.1\r\nHost: f\r\nX-Forwarded-For: 1.2.3.4\r\nX-User-Id: 1\r\nX_Odd: 1\r\n\r\n", body(10), "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOrigin(t, fixed(c.answer))
			f := newFront(t, o)
			f.ended = make(chan ended) // nobody listens, and nobody is waited for
			conn, err := net.Dial("tcp", f.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			request, end := []byte(c.request), []byte(c.end)
			buf := make([]byte, 256<<10)
			size := 0
			once := func() {
				if _, err := conn.Write(request); err != nil {
					t.Fatal(err)
				}
				n := 0
				for size == 0 && !finished(buf[:n], end) || n < size {
					m, err := conn.Read(buf[n:])
					if err != nil {
						t.Fatal(err)
					}
					n += m
				}
			}
			once()
			once()
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			if got := testing.AllocsPerRun(300, once); got > c.want {
				t.Errorf("%v allocations, want at most %v", got, c.want)
			}
		})
	}
}

// TestAllocsOverTLS: what crypto/tls allocates for an exchange is all that is
// allocated for it. It counts both sides: a plain client of crypto/tls is the measure.
func TestAllocsOverTLS(t *testing.T) {
	const request = "GET /a?b=c HTTP/1.1\r\nHost: f\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\n\r\n"
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + fill(100)
	o := secureOrigin(t, fixed(answer))
	exchanges := func(conn net.Conn) float64 {
		defer conn.Close()
		sent, buf := []byte(request), make([]byte, 1<<10)
		once := func() {
			if _, err := conn.Write(sent); err != nil {
				t.Fatal(err)
			}
			for n := 0; !finished(buf[:n], nil); {
				m, err := conn.Read(buf[n:])
				if err != nil {
					t.Fatal(err)
				}
				n += m
			}
		}
		once()
		once()
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		return testing.AllocsPerRun(300, once)
	}
	config, err := clientConfig(o.spec)
	if err != nil {
		t.Fatal(err)
	}
	direct, err := tls.Dial("tcp", o.address(), config)
	if err != nil {
		t.Fatal(err)
	}
	want := exchanges(direct)
	f := newFront(t, o)
	f.ended = make(chan ended) // nobody listens, and nobody is waited for
	client, err := net.Dial("tcp", f.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if got := exchanges(client); got > want || f.busy()+f.idle() != 1 {
		t.Errorf("%v allocations an exchange, crypto/tls alone makes %v", got, want)
	}
}

// finished says whether an answer is here whole.
func finished(b, end []byte) bool {
	if len(end) > 0 {
		return bytes.HasSuffix(b, end)
	}
	head := bytes.Index(b, []byte("\r\n\r\n"))
	i := bytes.Index(b, []byte("Content-Length: "))
	if head < 0 || i < 0 {
		return false
	}
	length := 0
	for _, c := range b[i+len("Content-Length: ") : head+2] {
		if c < '0' || c > '9' {
			break
		}
		length = length*10 + int(c-'0')
	}
	return len(b) == head+4+length
}

var _ io.Reader = (*stream)(nil)
