//go:build !race

package gatewaytest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

const (
	idleSockets = 1000
	// idleBytes is what an idle WebSocket may cost: heap and stacks.
	idleBytes = 8 << 10
)

// liveBytes is the live heap and the stacks of the process.
func liveBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// bareOrigin takes handshakes and then does nothing with its connections, so that they cost
// the same with a gateway before them as without.
func bareOrigin(t *testing.T) (address string, conns func() []net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all []net.Conn
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			all = append(all, c)
			mu.Unlock()
			r := bufio.NewReader(c)
			for line := ""; line != "\r\n" && err == nil; {
				line, err = r.ReadString('\n')
			}
			_, _ = io.WriteString(c, gatewaytest.Switching)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		group.Wait()
		for _, c := range all {
			_ = c.Close()
		}
	})
	return l.Addr().String(), func() []net.Conn {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// openIdle opens n WebSockets and says what each of them costs the process.
func openIdle(t *testing.T, address string) (conns []net.Conn, bytes int64, fds float64) {
	t.Helper()
	conns = make([]net.Conn, 0, idleSockets)
	before, fdsBefore := liveBytes(), descriptors(t)
	answer := make([]byte, 4096)
	for range idleSockets {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, gatewaytest.Handshake("/", ""))
		if n, err := c.Read(answer); err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 101 ") {
			t.Fatalf("got %q and %v", answer[:n], err)
		}
		conns = append(conns, c)
	}
	bytes = (liveBytes() - before) / idleSockets
	return conns, bytes, float64(descriptors(t)-fdsBefore) / idleSockets
}

// An idle WebSocket holds two descriptors and hardly any memory in the gateway,
// and nothing once it is over. What test and endpoint hold is measured without the gateway.
func TestIdleWebSockets(t *testing.T) {
	address, _ := bareOrigin(t)
	conns, bare, bareFDs := openIdle(t, address)
	for _, c := range conns {
		_ = c.Close()
	}

	address, served := bareOrigin(t)
	g := gatewaytest.Run(t, fmt.Sprintf(`
services: {a: {endpoints: [{url: "http://%s"}]}}
routes: {a: {match: {path: "/{rest...}"}, service: a, plugins: {websocket: {idle: off}}}}
`, address))
	first, _, _ := openIdle(t, g.Address()) // pools, pollers, metrics
	for _, c := range first {
		_ = c.Close()
	}
	for _, c := range served() {
		_ = c.Close()
	}
	gatewaytest.Eventually(t, "the end of the first", func() bool { return g.Tunnels().Len() == 0 })

	before, fdsBefore, goroutines := liveBytes(), descriptors(t), runtime.NumGoroutine()
	conns, with, withFDs := openIdle(t, g.Address())
	t.Logf("an idle WebSocket: %d bytes, %.2f descriptors", with-bare, withFDs-bareFDs)
	if with-bare > idleBytes {
		t.Errorf("an idle WebSocket costs %d bytes, want at most %d", with-bare, idleBytes)
	}
	if fds := withFDs - bareFDs; fds > 2.05 {
		t.Errorf("an idle WebSocket holds %.2f descriptors, want 2", fds)
	}
	if n := runtime.NumGoroutine() - goroutines; n > 50 {
		t.Errorf("%d goroutines for %d idle WebSockets", n, idleSockets)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	for _, c := range served() {
		_ = c.Close()
	}
	conns = nil
	gatewaytest.Eventually(t, "the end", func() bool { return g.Tunnels().Len() == 0 })
	gatewaytest.Eventually(t, "descriptors to be closed", func() bool { return descriptors(t) <= fdsBefore+20 })
	if grown := liveBytes() - before; grown > 1<<20 {
		t.Errorf("%d bytes are left of %d WebSockets", grown, idleSockets)
	}
}

// A message costs no allocation: neither on its way nor for its bookkeeping.
func TestAllocsOfAMessage(t *testing.T) {
	origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		if _, err := c.ReadRequest(); err != nil {
			return
		}
		_, _ = io.WriteString(c, gatewaytest.Switching)
		buffer := make([]byte, 4096)
		for {
			n, err := c.Read(buffer)
			if err != nil {
				return
			}
			if _, err := c.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
	g := gatewaytest.Run(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}}
routes: {a: {match: {path: "/{rest...}"}, service: a, plugins: {websocket: {}}}}
`)
	c, _ := gatewaytest.OpenWebSocket(t, g.Address(), "/", "")
	message := []byte(gatewaytest.Frame{Opcode: gatewaytest.Text, Final: true, Payload: "hello"}.Bytes(true))
	got := make([]byte, len(message))
	allocs := testing.AllocsPerRun(1000, func() {
		if _, err := c.Conn.Write(message); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.Conn, got); err != nil {
			t.Fatal(err)
		}
	})
	if allocs >= 1 {
		t.Errorf("a message there and back makes %.2f allocations, want none", allocs)
	}
}
