package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// eventually fails the test unless ok becomes true in time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// opaque is a connection that is no plain socket, as TLS is none.
type opaque struct{ net.Conn }

// CloseWrite ends what is sent.
func (o opaque) CloseWrite() error { return o.Conn.(*net.TCPConn).CloseWrite() }

// pair returns both ends of a TCP connection: the far one, and the gateway's.
func pair(t testing.TB) (far, near *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// bench is a registry with tunnels whose far ends the test holds.
type bench struct {
	t       testing.TB
	r       *Registry
	meter   *meter.Set
	wrap    func(net.Conn) net.Conn
	done    atomic.Int32
	options Spec // what further tunnels are made of
	maximum int
}

func newBench(t testing.TB, c clock.Clock, wrap func(net.Conn) net.Conn) *bench {
	b := &bench{t: t, meter: meter.NewSet(time.Now), wrap: wrap}
	b.r = New(c, b.meter)
	t.Cleanup(b.r.Close)
	return b
}

// ends is one tunnel as the test sees it.
type ends struct {
	t               testing.TB
	client, service *net.TCPConn
}

func (b *bench) open() *ends {
	b.t.Helper()
	seat, err := b.r.Take("r", "s", b.maximum)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.openOn(seat)
}

func (b *bench) openOn(seat *Seat) *ends {
	client, nearClient := pair(b.t)
	service, nearService := pair(b.t)
	spec := b.options
	spec.CorrelationID, spec.Endpoint, spec.Client = "id", "e:1", netip.MustParseAddr("192.0.2.1")
	spec.ClientEnd.Conn, spec.ServiceEnd.Conn = b.wrap(nearClient), b.wrap(nearService)
	spec.Done = func() { b.done.Add(1) }
	seat.Open(spec)
	return &ends{b.t, client, service}
}

// gone waits until n tunnels have ended, and checks why the last did.
func (b *bench) gone(n int32, why Reason) {
	b.t.Helper()
	eventually(b.t, "the end of a tunnel", func() bool { return b.done.Load() == n && b.r.Len() == 0 })
	series := b.r.series[seriesKey{"r", "s"}]
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	for reason, counter := range series.closed {
		if counter != nil && Reason(reason) != why {
			b.t.Errorf("%d ended by %s, want all by %s", counter.Value(), Reason(reason), why)
		}
	}
	if series.closed[why] == nil || series.closed[why].Value() != uint64(n) || series.open != 0 {
		b.t.Errorf("ends by %s: %v, open %d", why, series.closed[why], series.open)
	}
	if len(b.r.seats) != 0 {
		b.t.Errorf("seats are taken: %v", b.r.seats)
	}
}

func (e *ends) write(c *net.TCPConn, bytes string) {
	e.t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, bytes); err != nil {
		e.t.Fatalf("writing: %v", err)
	}
}

// want fails the test unless exactly these bytes come next.
func (e *ends) want(c *net.TCPConn, bytes string) {
	e.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(bytes))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != bytes {
		e.t.Fatalf("got %q and %v, want %q", cut(got[:n]), err, cut([]byte(bytes)))
	}
}

// wantEnd fails the test unless the connection ends now, cleanly.
func (e *ends) wantEnd(c *net.TCPConn) {
	e.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		e.t.Fatalf("got %q and %v, want the end", cut(rest), err)
	}
}

// wantOver fails the test unless the connection ends now, cleanly or not.
func (e *ends) wantOver(c *net.TCPConn) {
	e.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(c)
	var timeout net.Error
	if len(rest) > 0 || errors.As(err, &timeout) && timeout.Timeout() {
		e.t.Fatalf("got %q and %v, want the end", cut(rest), err)
	}
}

func cut(b []byte) string { return fmt.Sprintf("%.60s (%d)", b, len(b)) }

// movers runs a test with either mover: on plain sockets, and on what are none.
func movers(t *testing.T, test func(t *testing.T, wrap func(net.Conn) net.Conn)) {
	t.Parallel()
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"sockets":   func(c net.Conn) net.Conn { return c },
		"no socket": func(c net.Conn) net.Conn { return opaque{c} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, wrap)
		})
	}
}
