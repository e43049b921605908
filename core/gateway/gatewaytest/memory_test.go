//go:build !race

package gatewaytest_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// These tests look at the memory of the whole process, so they stand in a package
// of their own and run one after the other.

const streamed = 2 << 30 // bytes of each transfer

// resident is the process's resident memory in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

const route = `
services: {a: {endpoints: [{url: "%s"}]}}
routes: {a: {match: {path: "/{rest...}"}, service: a, limits: {body: unlimited}}}
`

// peak runs transfer and returns how far resident memory rose above its start,
// looking once for each mebibyte that went through.
type peak struct {
	t     *testing.T
	start int64
	most  int64
	n     int64
}

func (p *peak) Write(b []byte) (int, error) {
	before := p.n >> 24
	p.n += int64(len(b))
	if p.n>>24 != before {
		p.most = max(p.most, resident(p.t)-p.start)
	}
	return len(b), nil
}

func newPeak(t *testing.T) *peak {
	debug.FreeOSMemory()
	return &peak{t: t, start: resident(t)}
}

func TestStreamsKeepMemoryFlat(t *testing.T) {
	block := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	send := func(w io.Writer) error {
		for range streamed / len(block) {
			if _, err := w.Write(block); err != nil {
				return err
			}
		}
		return nil
	}
	const most = 16 << 20
	t.Run("down", func(t *testing.T) {
		origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
			if _, err := c.ReadRequest(); err == nil {
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", streamed)
				_ = send(c)
			}
		})
		g := gatewaytest.Run(t, fmt.Sprintf(route, origin.URL()))
		c := gatewaytest.Dial(t, g.Address())
		p := newPeak(t)
		c.Write("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if _, err := io.CopyBuffer(p, struct{ io.Reader }{c.Conn}, make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
		if p.n < streamed || p.most > most {
			t.Errorf("%d bytes came, resident memory rose by %d KiB, want at most %d", p.n, p.most>>10, most>>10)
		}
		t.Logf("resident memory rose by %d KiB", p.most>>10)
	})
	t.Run("up", func(t *testing.T) {
		var p *peak
		done := make(chan int64, 1)
		origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
			for line := ""; line != "\r\n"; {
				var err error
				if line, err = c.R.ReadString('\n'); err != nil {
					return
				}
			}
			n, _ := io.CopyBuffer(p, io.LimitReader(struct{ io.Reader }{c.R}, streamed), make([]byte, 64<<10))
			done <- n
			_, _ = io.WriteString(c, gatewaytest.OK)
		})
		g := gatewaytest.Run(t, fmt.Sprintf(route, origin.URL()))
		c := gatewaytest.Dial(t, g.Address())
		_ = c.Conn.SetDeadline(time.Now().Add(2 * time.Minute)) // a busy machine needs longer for 2 GiB than tests wait otherwise
		p = newPeak(t)
		c.Write(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", streamed))
		if err := send(c.Conn); err != nil {
			t.Fatal(err)
		}
		if n := <-done; n != streamed || p.most > most {
			t.Errorf("%d bytes came, resident memory rose by %d KiB, want at most %d", n, p.most>>10, most>>10)
		}
		if got := c.Read("POST"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("got %q", got)
		}
		t.Logf("resident memory rose by %d KiB", p.most>>10)
	})
}

// TestIdleConnectionsAreCheap holds 1,000 idle keep-alive connections to less than
// 30 MB of live heap, the test's own end included.
func TestIdleConnectionsAreCheap(t *testing.T) {
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, fmt.Sprintf(route, origin.URL()))
	before := liveHeap()
	for range 1000 {
		c := gatewaytest.Dial(t, g.Address())
		c.Write("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Fatalf("got %q", got)
		}
	}
	held := int64(liveHeap()) - int64(before)
	t.Logf("1,000 idle connections hold %d KiB", held>>10)
	if held > 30<<20 {
		t.Errorf("1,000 idle connections hold %d KiB of live heap, want at most 30 MB", held>>10)
	}
}
