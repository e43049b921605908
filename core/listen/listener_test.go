package listen

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/clock"
)

func TestC13_Totals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, want     string
		maximum, perIP int
		full, crowded  uint64
	}{
		{"in all", `HTTP/1.1 503 Service Unavailable|Content-Type: application/problem+json|Content-Length: 189|Retry-After: 1|X-Correlation-ID: ID|Connection: close||` +
			`{"type":"https://suuupra.dev/faults/overloaded","title":"Overloaded","status":503,"code":"overloaded","error":"Overloaded","retryAfter":1,"correlationId":"ID"}`, 2, 0, 3, 0},
		{"per address", `HTTP/1.1 429 Too Many Requests|Content-Type: application/problem+json|Content-Length: 229|Retry-After: 1|X-Correlation-ID: ID|Connection: close||` +
			`{"type":"https://suuupra.dev/faults/too_many_connections","title":"Too many connections","status":429,"code":"too_many_connections","error":"Too many connections","retryAfter":1,"correlationId":"ID"}`, 9, 2, 0, 3},
	}
	id := regexp.MustCompile(`[0-9a-f]{32}`)
	for _, tt := range tests {
		totals := NewTotals(tt.maximum, tt.perIP)
		s := serve(t, Options{Totals: totals}, echo)
		first, second := s.dial(t), s.dial(t)
		for _, c := range []*client{first, second} {
			c.send(get("/"))
			if got := c.code(); got != "200" {
				t.Fatalf("%s: got %q", tt.name, got)
			}
		}
		for range 3 {
			c := s.dial(t)
			c.send(get("/"), strings.Repeat("x", 100_000)) // the answer arrives nevertheless
			raw, err := io.ReadAll(c.r)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			got := id.ReplaceAllString(strings.ReplaceAll(string(raw), "\r\n", "|"), "ID")
			if got != tt.want {
				t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
			}
			_ = c.Close()
		}
		if s.RefusedFull() != tt.full || s.RefusedPerIP() != tt.crowded || s.Accepted() != 2 || totals.Open() != 2 {
			t.Errorf("%s: counted %d %d %d %d", tt.name, s.RefusedFull(), s.RefusedPerIP(), s.Accepted(), totals.Open())
		}
		_ = first.Close()
		eventually(t, "the first leaves", func() bool { return totals.Open() == 1 })
		third := s.dial(t)
		third.send(get("/"))
		if got := third.code(); got != "200" {
			t.Errorf("%s: after one left: got %q", tt.name, got)
		}
	}
}

// TestC13_Flood: refusing blocks neither the accept loop nor those who stay, also
// where the refused ones do not go away.
func TestC13_Flood(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{Totals: NewTotals(1, 0)}, echo)
	c := s.dial(t)
	eventually(t, "the first is in", func() bool { return s.Open() == 1 })
	var stubborn []*client
	for range 2 * mostRefused {
		stubborn = append(stubborn, s.dial(t))
	}
	eventually(t, "all are refused", func() bool { return s.RefusedFull() == 2*mostRefused })
	c.send(get("/"))
	if got := c.code(); got != "200" {
		t.Errorf("got %q", got)
	}
	for _, r := range stubborn {
		if got := r.code(); got != "503" {
			t.Errorf("got %q", got)
		}
	}
}

// TestTotalsCount checks the books against a plain model.
func TestTotalsCount(t *testing.T) {
	t.Parallel()
	addresses := []netip.Addr{
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:0:0:2"), netip.MustParseAddr("2001:db8:0:1::1"),
		netip.MustParseAddr("fe80::1%eth0"), {},
	}
	networks := []int{0, 1, 2, 2, 3, 4, 5} // which of them count together
	rapid.Check(t, func(t *rapid.T) {
		maximum, perIP := rapid.IntRange(0, 6).Draw(t, "maximum"), rapid.IntRange(0, 3).Draw(t, "perIP")
		totals := NewTotals(maximum, perIP)
		var inside []int
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(inside) > 0 && rapid.Bool().Draw(t, "leave") {
				i := rapid.IntRange(0, len(inside)-1).Draw(t, "who")
				totals.leave(account{addresses[inside[i]], true})
				inside = append(inside[:i], inside[i+1:]...)
				continue
			}
			who := rapid.IntRange(0, len(addresses)-1).Draw(t, "address")
			same := 0
			for _, other := range inside {
				if networks[other] == networks[who] {
					same++
				}
			}
			want := admitted
			if perIP > 0 && same >= perIP {
				want = crowded
			}
			if maximum > 0 && len(inside) >= maximum {
				want = full
			}
			got := totals.enter(account{addresses[who], true})
			if got != want {
				t.Fatalf("%v with %v inside: got %d, want %d", addresses[who], inside, got, want)
			}
			if got == admitted {
				inside = append(inside, who)
			}
			if totals.Open() != len(inside) {
				t.Fatalf("open %d, want %d", totals.Open(), len(inside))
			}
		}
		for _, i := range inside {
			totals.leave(account{addresses[i], true})
		}
		if totals.Open() != 0 || len(totals.addresses) != 0 {
			t.Fatalf("left over: %d, %v", totals.Open(), totals.addresses)
		}
	})
}

func TestDefaultConnections(t *testing.T) {
	t.Parallel()
	for descriptors, want := range map[uint64]int{0: 1, 3: 1, 256: 64, 257: 64, 1024: 448, 65536: 32704, 1 << 40: (mostDescriptors - reservedDescriptors) / 2} {
		if got := connectionsFor(descriptors); got != want {
			t.Errorf("%d descriptors: %d connections, want %d", descriptors, got, want)
		}
	}
	if got := DefaultConnections(); got < 1 {
		t.Errorf("DefaultConnections is %d", got)
	}
}

// TestAcceptErrors: an error of accepting is reported and retried, ever more
// slowly, and ends with Close.
func TestAcceptErrors(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var waits []time.Duration
	watch := clock.NewFake(time.Unix(0, 0))
	l, err := Listen("127.0.0.1:0", Options{Limits: roomy, Clock: watch, OnAcceptError: func(err error, wait time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		waits = append(waits, wait)
		var timeout net.Error
		if !errors.As(err, &timeout) {
			t.Errorf("reported %v", err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	fails := func(yes bool) {
		var at time.Time
		if yes {
			at = time.Unix(1, 0) // a timeout is as good as any other error
		}
		if err := l.socket.SetDeadline(at); err != nil {
			t.Fatal(err)
		}
	}
	accepted := make(chan error, 1)
	accept := func() {
		c, err := l.Accept()
		if err == nil {
			err = c.Close()
		}
		accepted <- err
	}
	tries := func(n uint64) {
		t.Helper()
		eventually(t, "the listener waits after a try", func() bool { return l.AcceptErrors() == n && watch.Armed() == 2 }) // its timer and the watch's
	}
	fails(true)
	go accept()
	for n := uint64(1); n < 12; n++ {
		tries(n)
		watch.Advance(min(firstAcceptWait<<(n-1), lastAcceptWait) - 1)
		tries(n) // not a moment too early
		watch.Advance(1)
	}
	tries(12)
	fails(false)
	dialAddr(t, l.Addr().String())
	watch.Advance(lastAcceptWait)
	if err := <-accepted; err != nil {
		t.Errorf("accepting after errors: %v", err)
	}
	fails(true)
	go accept()
	tries(13)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept returned %v", err)
	}
	want := []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000, 5}
	for i := range want {
		want[i] *= time.Millisecond
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(waits, want) {
		t.Errorf("the waits were %v", waits)
	}
}

func TestListener(t *testing.T) {
	t.Parallel()
	if _, err := Listen("127.0.0.1:nope", Options{Name: "x"}); err == nil || !strings.Contains(err.Error(), "listener x: listen tcp: lookup tcp/nope") {
		t.Errorf("got %v", err)
	}
	l, err := Listen("127.0.0.1:0", Options{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if l.Name() != "x" || l.Addr().(*net.TCPAddr).Port == 0 {
		t.Errorf("got %s %v", l.Name(), l.Addr())
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); err != net.ErrClosed {
		t.Errorf("Accept on a closed listener: %v", err)
	}
	l, err = Listen("127.0.0.1:0", Options{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	_ = l.socket.Close()
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "closing listener x") {
		t.Errorf("got %v", err)
	}
}

// TestConn looks at what a connection says of itself, and at its socket options.
func TestConn(t *testing.T) {
	t.Parallel()
	totals := NewTotals(0, 0)
	ids := make(chan uint64, 2)
	handler := func(ctx *fasthttp.RequestCtx, c *Conn) {
		ids <- c.ID()
		remote := c.RemoteAddrPort()
		if remote != c.RemoteAddr().(*net.TCPAddr).AddrPort() || c.Unwrap().RemoteAddr() != c.RemoteAddr() {
			t.Errorf("remote %v", remote)
		}
		if c.Err() != nil || c.Truncated() || c.Listener() != "public" {
			t.Errorf("%v %v %s", c.Err(), c.Truncated(), c.Listener())
		}
		if n, err := c.Read(nil); n != 0 || err != nil {
			t.Errorf("an empty read: %d, %v", n, err)
		}
		raw, err := c.Unwrap().SyscallConn()
		if err != nil {
			t.Error(err)
			return
		}
		_ = raw.Control(func(fd uintptr) {
			for name, option := range map[string][2]int{"TCP_NODELAY": {syscall.IPPROTO_TCP, syscall.TCP_NODELAY}, "SO_KEEPALIVE": {syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}} {
				if v, err := syscall.GetsockoptInt(int(fd), option[0], option[1]); err != nil || v == 0 {
					t.Errorf("%s is %d, %v", name, v, err)
				}
			}
		})
		ctx.SetBodyString(c.LocalAddr().String())
	}
	a, b := serve(t, Options{Totals: totals}, handler), serve(t, Options{Totals: totals}, handler)
	for _, s := range []*server{a, b} {
		c := s.dial(t)
		c.send(get("/"))
		if got, want := c.answer(), "200 "+s.Addr().String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if first, second := <-ids, <-ids; first == second {
		t.Errorf("two connections with the id %d", first)
	}
	if got := addrPort(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("got %v", got)
	}
	if got := addrPort(&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 7}); got != netip.MustParseAddrPort("192.0.2.1:7") {
		t.Errorf("got %v", got)
	}
}

// TestTotalsCanBeChanged raises and lowers the bound while connections are open.
func TestTotalsCanBeChanged(t *testing.T) {
	t.Parallel()
	totals := NewTotals(1, 0)
	s := serve(t, Options{Totals: totals}, echo)
	ask := func() (string, *client) {
		c := s.dial(t)
		c.send(get("/"))
		return c.code(), c
	}
	status := func(want string) *client {
		t.Helper()
		got, c := ask()
		if got != want {
			t.Errorf("with at most %d: got %s, want %s", totals.Maximum(), got, want)
		}
		return c
	}
	first := status("200")
	status("503")
	totals.SetMaximum(2)
	status("200")
	status("503")
	totals.SetMaximum(1) // those that are open stay
	status("503")
	first.send(get("/"))
	if got := first.code(); got != "200" || totals.Open() != 2 {
		t.Errorf("an old connection: got %s, %d open", got, totals.Open())
	}
	totals.SetMaximum(0)
	status("200")
}

// TestIdleConnectionsAreCounted tells who waits from who is served.
func TestIdleConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		if string(ctx.Path()) == "/wait" {
			<-release
		}
		echo(ctx, c)
	})
	busy, idle := s.dial(t), s.dial(t)
	idle.send(get("/"))
	if got := idle.code(); got != "200" {
		t.Fatalf("got %s", got)
	}
	busy.send(get("/wait"))
	eventually(t, "one of two is idle", func() bool { return s.Open() == 2 && s.Idle() == 1 })
	close(release)
	if got := busy.code(); got != "200" {
		t.Fatalf("got %s", got)
	}
	eventually(t, "both are idle", func() bool { return s.Idle() == 2 })
}
