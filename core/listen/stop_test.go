package listen

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/socket"
)

// hold makes a listener whose queue nobody serves until the test does.
func hold(t *testing.T) *Listener {
	t.Helper()
	l, err := Listen("127.0.0.1:0", Options{Name: "public", Limits: roomy})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Close()
		l.CloseAll()
	})
	return l
}

// TestStopTakesThoseWhoWait: what the kernel has connected is accepted, and nothing
// is accepted afterwards.
func TestStopTakesThoseWhoWait(t *testing.T) {
	t.Parallel()
	l := hold(t)
	const n = 50
	for range n {
		dialAddr(t, l.Addr().String())
	}
	l.Stop()
	l.Stop()
	taken := 0
	for {
		if _, err := l.Accept(); err != nil {
			if err != net.ErrClosed {
				t.Errorf("Accept returned %v", err)
			}
			break
		}
		taken++
	}
	if taken != n {
		t.Errorf("%d of %d were accepted", taken, n)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("a connection was made after the end")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestStopWakesAnAcceptLoop: one that waits ends by itself.
func TestStopWakesAnAcceptLoop(t *testing.T) {
	t.Parallel()
	l := hold(t)
	ended := make(chan error)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	if err := l.Turn(context.Background()); err != nil {
		t.Fatal(err)
	}
	l.Stop()
	if err := <-ended; err != net.ErrClosed {
		t.Errorf("Accept returned %v", err)
	}
}

// TestStopIsBounded: newcomers can't put off the end for good.
func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	l := hold(t)
	dialAddr(t, l.Addr().String())
	l.stopBy.Store(1) // long ago
	if _, err := l.Accept(); err != net.ErrClosed {
		t.Errorf("Accept returned %v", err)
	}
}

// TestStopUnderLoad: whoever was connected gets an answer, though they come without end.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, echo)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				c, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					return // refused: the listener is closed
				}
				_ = c.SetDeadline(time.Now().Add(waitAtMost)) // a new socket takes it
				_, _ = c.Write([]byte(get("/")))              // the answer tells
				if n, err := c.Read(make([]byte, 1000)); n < 20 {
					t.Errorf("got %d bytes, %v", n, err)
				}
				_ = c.Close() // nothing more is wanted of it
			}
		})
	}
	eventually(t, "requests flow", func() bool { return s.handled.Load() > 100 })
	s.Stop()
	clients.Wait()
}

// TestTurn: an accept loop that turns is told from one that is stuck, and loses
// nothing by being asked.
func TestTurn(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, echo)
	for range 20 {
		if err := s.Turn(context.Background()); err != nil {
			t.Fatal(err)
		}
		c := s.dial(t)
		c.send(get("/"))
		if got := c.code(); got != "200" {
			t.Errorf("got %q", got)
		}
	}
	if n := s.AcceptErrors(); n != 0 {
		t.Errorf("%d errors were counted", n)
	}

	l := hold(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := l.Turn(ctx); !errors.Is(err, context.DeadlineExceeded) || err.Error() != "listener public: nobody has accepted for a while: context deadline exceeded" {
		t.Errorf("got %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Turn(context.Background()); err != nil {
		t.Errorf("a closed listener: %v", err)
	}
}

// passed makes a listening socket and passes it on: theirs and ours are one, of the
// plain kind that systemd makes; f is a third hold of it.
func passed(t *testing.T) (theirs net.Listener, f *os.File, ours *net.TCPListener) {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	theirs, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Close() })
	if f, err = theirs.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	l, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	return theirs, f, l.(*net.TCPListener)
}

// TestOn: a listener of a socket that others hold too closes its own hold only.
func TestOn(t *testing.T) {
	t.Parallel()
	theirs, _, ours := passed(t)
	l, err := On(ours, Options{Name: "public", Limits: roomy})
	if err != nil {
		t.Fatal(err)
	}
	l.Stop()
	if _, err := l.Accept(); err != net.ErrClosed {
		t.Errorf("Accept returned %v", err)
	}
	dialAddr(t, theirs.Addr().String())
	c, err := theirs.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// TestOnABlockingSocket: another who is given the socket can make it block, and an
// accept loop ends all the same.
func TestOnABlockingSocket(t *testing.T) {
	t.Parallel()
	_, f, ours := passed(t)
	l, err := On(ours, Options{Name: "public", Limits: roomy})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.SetNonblock(int(f.Fd()), false); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	time.Sleep(2 * blockedFor / 3) // likely in the kernel now; it must end wherever it is
	l.Stop()
	select {
	case err := <-ended:
		if err != net.ErrClosed {
			t.Errorf("Accept returned %v", err)
		}
	case <-time.After(waitAtMost):
		t.Fatal("the accept loop is stuck")
	}

	if _, err := On(ours, Options{Name: "public"}); err == nil || !strings.Contains(err.Error(), "listener public: bounding the waits") {
		t.Errorf("a closed socket: %v", err)
	}
}

// TestRFC9112_9_5_CloseIdleWaits: a connection is idle for grace before it is closed,
// and a request that has arrived is served though nobody has read it yet.
func TestRFC9112_9_5_CloseIdleWaits(t *testing.T) {
	t.Parallel()
	proceed := make(chan struct{})
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, _ *Conn) {
		if string(ctx.Path()) == "/slow" {
			<-proceed
		}
	})
	idle, busy := s.dial(t), s.dial(t)
	busy.send(get("/slow"))
	eventually(t, "one is busy", func() bool { return s.handled.Load() == 1 && s.Open() == 2 })
	if n := s.CloseIdle(time.Hour); n != 0 {
		t.Errorf("closed %d at once", n)
	}
	var first *Conn
	for _, c := range s.connections() {
		if c.idleSince != 0 {
			first = c
		}
	}
	if first == nil {
		t.Fatal("the idle one was not seen")
	}
	first.idleSince -= int64(time.Hour)
	proceed <- struct{}{}
	if got := busy.code(); got != "200" {
		t.Errorf("got %q", got)
	}
	eventually(t, "both are idle", func() bool {
		n := 0
		for _, c := range s.connections() {
			if c.state.Load() == waiting {
				n++
			}
		}
		return n == 2
	})
	if n := s.CloseIdle(time.Hour); n != 1 {
		t.Errorf("closed %d, want the one that was idle for an hour", n)
	}
	idle.ends()
	busy.send(get("/again"))
	if got := busy.code(); got != "200" {
		t.Errorf("got %q", got)
	}
}

// TestCloseIdleSeesWhatNobodyRead: what waits in the socket is a request.
func TestCloseIdleSeesWhatNobodyRead(t *testing.T) {
	t.Parallel()
	l := hold(t)
	client := dialAddr(t, l.Addr().String())
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := accepted.(*Conn)
	client.send(get("/"))
	eventually(t, "the request arrives", func() bool { return c.lookNow() == socket.Bytes })
	if n := l.CloseIdle(0); n != 0 {
		t.Errorf("closed %d", n)
	}
	if n, err := c.Read(make([]byte, 1000)); n == 0 {
		t.Errorf("the request is lost: %v", err)
	}
}
