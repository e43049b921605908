package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

const (
	clientClose  = "\x88\x82\x01\x02\x03\x04\x02\xea" // a client's Close frame, status 1000
	serviceClose = "\x88\x02\x03\xe8"
	ourClose     = "\x88\x02\x03\xe9" // 1001
	hello        = "\x81\x05hello"
)

// wantOurClose takes the gateway's masked Close frame.
func (e *ends) wantOurClose() {
	e.t.Helper()
	_ = e.service.SetReadDeadline(time.Now().Add(patience))
	var got [8]byte
	for n := 0; n < len(got); {
		m, err := e.service.Read(got[n:])
		if err != nil {
			e.t.Fatalf("got %x and %v, want a Close frame", got[:n], err)
		}
		n += m
	}
	if got[0] != 0x88 || got[1] != 0x82 || got[6]^got[2] != 0x03 || got[7]^got[3] != 0xe9 {
		e.t.Fatalf("got %x, want a masked Close frame with 1001", got)
	}
}

func TestBothWays(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		b.options.ClientEnd.Early, b.options.ServiceEnd.Early = []byte("early "), []byte("soon ")
		e := b.open()
		e.write(e.client, "and late")
		e.write(e.service, "and later")
		e.want(e.service, "early and late")
		e.want(e.client, "soon and later")
		list := b.r.List()
		if len(list) != 1 {
			t.Fatalf("%d tunnels are listed", len(list))
		}
		i := list[0]
		if i.CorrelationID != "id" || i.Route != "r" || i.Service != "s" || i.Endpoint != "e:1" || i.Client.String() != "192.0.2.1" ||
			i.BytesIn != 14 || i.BytesOut != 14 || time.Since(i.Opened) > time.Minute {
			t.Errorf("listed is %+v", i)
		}
		_ = e.client.Close()
		e.wantEnd(e.service)
		_ = e.service.Close()
		b.gone(1, ByClient)
	})
}

// What one end sends reaches the other byte for byte, in whatever pieces, both ways
// at once, and however slowly it is read.
func TestBulk(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		e := b.open()
		bulk := make([]byte, 4<<20)
		for i := range bulk {
			bulk[i] = byte(rand.Uint32())
		}
		// One frame: of random ones both ends would say goodbye with a Close at times.
		head := binary.BigEndian.AppendUint64([]byte{0x82, 127}, uint64(len(bulk)-10))
		copy(bulk, head)
		var group sync.WaitGroup
		for _, way := range [][2]*net.TCPConn{{e.client, e.service}, {e.service, e.client}} {
			group.Go(func() {
				for at := 0; at < len(bulk); {
					n := min(1+rand.IntN(100_000), len(bulk)-at)
					e.write(way[0], string(bulk[at:at+n]))
					at += n
				}
				_ = way[0].CloseWrite()
			})
			group.Go(func() {
				for at := 0; at < len(bulk); at += 64 << 10 {
					e.want(way[1], string(bulk[at:at+64<<10]))
				}
				e.wantEnd(way[1])
			})
		}
		group.Wait()
		eventually(t, "the end", func() bool { return b.r.Len() == 0 })
	})
}

// A reader that does not read makes the writer wait, not the gateway's memory grow.
func TestBackPressure(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		e := b.open()
		block := strings.Repeat("x", 64<<10)
		sent := 0
		for {
			_ = e.service.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := e.service.Write([]byte(block))
			sent += n
			if err != nil {
				break
			}
			if sent > 256<<20 {
				t.Fatal("the writer never has to wait")
			}
		}
		read := b.r.List()[0].BytesOut
		e.want(e.client, strings.Repeat("x", sent))
		eventually(t, "the rest", func() bool { return b.r.List()[0].BytesOut == int64(sent) })
		if read > int64(sent) {
			t.Errorf("%d bytes were read of %d", read, sent)
		}
		// The other direction did not care.
		e.write(e.client, "still there")
		e.want(e.service, "still there")
	})
}

func TestHalfClose(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		e := b.open()
		e.write(e.service, "last words")
		_ = e.service.CloseWrite()
		e.want(e.client, "last words")
		e.wantEnd(e.client)
		e.write(e.client, "answer")
		e.want(e.service, "answer")
		_ = e.client.CloseWrite()
		e.wantEnd(e.service)
		b.gone(1, ByService)
	})
}

// Once one end has ended, the other may be silent for a while, but not for ever.
func TestHalfCloseIsBounded(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		fake := clock.NewFake(time.Unix(1_000_000, 0))
		b := newBench(t, fake, wrap)
		e := b.open()
		_ = e.client.CloseWrite()
		e.wantEnd(e.service)
		advance(t, fake, linger-sweepEvery)
		e.write(e.service, "in time")
		e.want(e.client, "in time")
		advance(t, fake, linger-2*sweepEvery)
		if b.r.Len() != 1 {
			t.Fatal("it ended too early")
		}
		advance(t, fake, 4*sweepEvery)
		e.wantOver(e.client)
		b.gone(1, ByClient)
	})
}

// advance moves the clock on, sweep by sweep.
func advance(t *testing.T, fake *clock.Fake, d time.Duration) {
	t.Helper()
	for ; d > 0; d -= sweepEvery {
		eventually(t, "the sweeper", func() bool { return fake.Armed() > 0 })
		fake.Advance(sweepEvery)
	}
	eventually(t, "the sweeper", func() bool { return fake.Armed() > 0 })
}

// A side that dies takes the other with it.
func TestReset(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		for _, c := range []struct {
			dies func(*ends) (dead, other *net.TCPConn)
			why  Reason
		}{
			{func(e *ends) (_, _ *net.TCPConn) { return e.client, e.service }, ByClient},
			{func(e *ends) (_, _ *net.TCPConn) { return e.service, e.client }, ByService},
		} {
			b := newBench(t, clock.Real(), wrap)
			e := b.open()
			e.write(e.client, "a")
			e.want(e.service, "a")
			dead, other := c.dies(e)
			_ = dead.SetLinger(0)
			_ = dead.Close()
			e.wantOver(other)
			b.gone(1, c.why)
		}
	})
}

func TestIdle(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		fake := clock.NewFake(time.Unix(1_000_000, 0))
		b := newBench(t, fake, wrap)
		b.options.Idle = 2 * time.Second
		e := b.open()
		for range 4 {
			advance(t, fake, time.Second)
			e.write(e.client, hello)
			e.want(e.service, hello)
			advance(t, fake, time.Second)
			e.write(e.service, hello)
			e.want(e.client, hello)
		}
		advance(t, fake, 2*time.Second+sweepEvery)
		e.want(e.client, ourClose)
		e.wantOurClose()
		// The client answers, the service never does.
		e.write(e.client, clientClose)
		advance(t, fake, grace+sweepEvery)
		e.wantOver(e.service)
		e.wantOver(e.client)
		b.gone(1, ByIdle)
	})
}

func TestForEver(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		fake := clock.NewFake(time.Unix(1_000_000, 0))
		b := newBench(t, fake, wrap)
		e := b.open()
		for range 10 {
			eventually(t, "the sweeper", func() bool { return fake.Armed() > 0 })
			fake.Advance(1000 * time.Hour)
		}
		e.write(e.client, "still there")
		e.want(e.service, "still there")
	})
}

// A client that is between two messages is told at once; the answers end it.
func TestDrain(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		e := b.open()
		e.write(e.service, hello)
		e.want(e.client, hello)
		reserved, err := b.r.Take("r", "s", 0)
		if err != nil {
			t.Fatal(err)
		}
		drained := make(chan error, 1)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		go func() { drained <- b.r.Drain(ctx) }()
		e.want(e.client, ourClose)
		e.wantOurClose()
		// What was on its way when the Close frame was sent is dropped.
		e.write(e.service, hello+serviceClose)
		e.write(e.client, clientClose)
		e.wantEnd(e.client)
		e.wantEnd(e.service)
		if err := <-drained; err != nil {
			t.Errorf("draining: %v", err)
		}
		if _, err := b.r.Take("r", "s", 0); !errors.Is(err, ErrDraining) {
			t.Errorf("a seat while draining: %v", err)
		}
		// A handshake that was under way gets its tunnel, and is told at once.
		late := b.openOn(reserved)
		late.want(late.client, ourClose)
		late.wantOurClose()
		_, _ = late.client.Close(), late.service.Close()
		b.gone(2, ByDrain)
	})
}

// Amid a message nothing is put; the Close frame follows its end.
func TestDrainAmidAMessage(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		e := b.open()
		e.write(e.service, hello[:4])
		e.want(e.client, hello[:4])
		e.write(e.client, "\x81")
		e.want(e.service, "\x81")
		drained := make(chan error, 1)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		go func() { drained <- b.r.Drain(ctx) }()
		eventually(t, "draining", func() bool {
			seat, err := b.r.Take("r", "s", 0)
			if err == nil {
				seat.Leave()
			}
			return err != nil
		})
		e.write(e.service, hello[4:]+"\x81\x04more")
		e.want(e.client, hello[4:]+ourClose)
		e.write(e.client, "\x80\x01\x02\x03\x04"+clientClose)
		e.want(e.service, "\x80\x01\x02\x03\x04")
		e.wantOurClose()
		e.write(e.service, serviceClose)
		e.wantEnd(e.client)
		e.wantEnd(e.service)
		if err := <-drained; err != nil {
			t.Errorf("draining: %v", err)
		}
		b.gone(1, ByDrain)
	})
}

// Whoever does not answer, or never ends its message, is cut when the time is up.
func TestDrainIsBounded(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		silent, amid := b.open(), b.open()
		amid.write(amid.service, hello[:3])
		amid.want(amid.client, hello[:3])
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		err := b.r.Drain(ctx)
		if err == nil || err.Error() != "1 WebSockets were cut amid a message" {
			t.Errorf("draining: %v", err)
		}
		silent.want(silent.client, ourClose)
		silent.wantOver(silent.client)
		amid.wantOver(amid.client)
		b.gone(2, ByDrain)
	})
}

// Goodbyes are spread over the time that there is.
func TestDrainIsStaggered(t *testing.T) {
	t.Parallel()
	b := newBench(t, clock.Real(), func(c net.Conn) net.Conn { return c })
	for _, c := range []struct {
		left    time.Duration
		tunnels int
		want    time.Duration
	}{
		{10 * time.Second, 1, drainEvery},
		{10 * time.Second, 1000, 5 * time.Millisecond},
		{-time.Second, 10, 0},
		{time.Second, 0, drainEvery},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), c.left)
		if got := b.r.pause(ctx, c.tunnels); got > c.want || got < c.want*9/10 {
			t.Errorf("%d in %s: %s, want %s", c.tunnels, c.left, got, c.want)
		}
		cancel()
	}
	if got := b.r.pause(context.Background(), 5); got != drainEvery {
		t.Errorf("without a deadline: %s", got)
	}
}

func TestCloseTunnel(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		e := b.open()
		if b.r.CloseTunnel(99) {
			t.Error("a tunnel that is none was closed")
		}
		if !b.r.CloseTunnel(b.r.List()[0].ID) {
			t.Error("a tunnel was not found")
		}
		e.want(e.client, ourClose)
		e.wantOurClose()
		_, _ = e.client.CloseWrite(), e.service.CloseWrite()
		e.wantEnd(e.client)
		e.wantEnd(e.service)
		b.gone(1, ByOperator)
	})
}

// Where the client has said goodbye itself, nothing is added.
func TestNoSecondGoodbye(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		e := b.open()
		e.write(e.client, clientClose)
		e.want(e.service, clientClose)
		b.r.CloseTunnel(b.r.List()[0].ID)
		e.want(e.client, ourClose)
		e.write(e.service, serviceClose)
		e.wantEnd(e.client)
		e.wantEnd(e.service)
		b.gone(1, ByOperator)
	})
}

func TestSeats(t *testing.T) {
	t.Parallel()
	b := newBench(t, clock.Real(), func(c net.Conn) net.Conn { return c })
	b.maximum = 2
	first, second := b.open(), b.open()
	if _, err := b.r.Take("r", "other service", 2); !errors.Is(err, ErrFull) {
		t.Errorf("a third seat: %v", err)
	}
	other, err := b.r.Take("other", "s", 1)
	if err != nil {
		t.Fatalf("another route: %v", err)
	}
	other.Leave()
	_ = first.client.Close()
	_ = first.service.Close()
	eventually(t, "a free seat", func() bool {
		seat, err := b.r.Take("r", "s", 2)
		if err == nil {
			seat.Leave()
		}
		return err == nil
	})
	_ = second.client.Close()
	_ = second.service.Close()
	b.gone(2, ByClient)
}

// Close ends what there is, and what comes too late.
func TestClose(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		e := b.open()
		seat, err := b.r.Take("r", "s", 0)
		if err != nil {
			t.Fatal(err)
		}
		b.r.Close()
		e.wantOver(e.client)
		e.wantOver(e.service)
		late := b.openOn(seat)
		late.wantOver(late.client)
		late.wantOver(late.service)
		b.gone(2, ByDrain)
		b.r.Close()
	})
}

// A registry without tunnels runs nothing: TestMain would find its goroutines.
func TestNothingRunsUnasked(t *testing.T) {
	t.Parallel()
	r := New(clock.Real(), newBench(t, clock.Real(), nil).meter)
	if r.Len() != 0 || len(r.List()) != 0 || r.Drain(context.Background()) != nil {
		t.Error("an empty registry is not empty")
	}
}

// A tunnel that has much to move does not keep others of its poller waiting.
func TestFairness(t *testing.T) {
	t.Parallel()
	b := newBench(t, clock.Real(), func(c net.Conn) net.Conn { return c })
	const busy = 4
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range busy {
		e := b.open()
		group.Go(func() {
			block := make([]byte, 1<<20)
			for {
				if _, err := e.client.Write(block); err != nil {
					return
				}
			}
		})
		group.Go(func() {
			block := make([]byte, 1<<20)
			for {
				if _, err := e.service.Read(block); err != nil {
					return
				}
			}
		})
		go func() {
			<-stop
			_, _ = e.client.Close(), e.service.Close()
		}()
	}
	quiet := b.open()
	for range 10 {
		quiet.write(quiet.client, hello)
		quiet.want(quiet.service, hello)
	}
	close(stop)
	group.Wait()
}

// A connection that broke ahead of its tunnel ends it, and takes the other along.
func TestBrokenFromTheStart(t *testing.T) {
	t.Parallel()
	for broken, why := range map[int]Reason{fromClient: ByClient, fromService: ByService} {
		b := newBench(t, clock.Real(), func(c net.Conn) net.Conn { return c })
		seat, err := b.r.Take("r", "s", 0)
		if err != nil {
			t.Fatal(err)
		}
		client, nearClient := pair(t)
		service, nearService := pair(t)
		near := [directions]*net.TCPConn{nearClient, nearService}
		_ = near[broken].Close()
		seat.Open(Spec{
			ClientEnd: End{Conn: nearClient}, ServiceEnd: End{Conn: nearService}, Done: func() { b.done.Add(1) },
		})
		e := &ends{t, client, service}
		e.wantOver(e.client)
		e.wantOver(e.service)
		b.gone(1, why)
	}
}

// What waits for a slow reader when the tunnel has to go is not sent any more, and
// the room for it is free again.
func TestEndWithBytesStuck(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		fake := clock.NewFake(time.Unix(1_000_000, 0))
		b := newBench(t, fake, wrap)
		b.options.Idle = time.Second
		e := b.open()
		block := make([]byte, 1<<20)
		for {
			_ = e.service.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := e.service.Write(block); err != nil {
				break
			}
		}
		eventually(t, "the end", func() bool { // the mover counts from when it hears of it
			fake.Advance(sweepEvery)
			return b.r.Len() == 0
		})
		b.gone(1, ByIdle)
	})
}

func TestReasons(t *testing.T) {
	t.Parallel()
	for r := unknown; r <= reasons; r++ {
		if r.String() == "" || r.String() == "?" != (r == reasons) {
			t.Errorf("reason %d is %q", r, r)
		}
	}
}

func TestI21_WhoMayNoLongerBeHereIsTold1008(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		e := b.open()
		tunnel := b.r.all()[0]
		tunnel.Dismiss()
		tunnel.Dismiss()
		e.want(e.client, "\x88\x02\x03\xf0")
		got := make([]byte, 8)
		if _, err := io.ReadFull(e.service, got); err != nil || got[0] != 0x88 || got[1] != 0x82 || got[6]^got[2] != 0x03 || got[7]^got[3] != 0xf0 {
			t.Errorf("to the service: %x, %v", got, err)
		}
		start := time.Now()
		e.wantOver(e.client) // though neither has answered
		e.wantOver(e.service)
		if waited := time.Since(start); waited > grace/2 {
			t.Errorf("it took %s", waited)
		}
		b.gone(1, ByPolicy)
		tunnel.Dismiss() // of what is over
	})
}

// Neither a message that does not end nor a goodbye that is said already holds it up.
func TestI21_NothingHoldsUpTheEnd(t *testing.T) {
	movers(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		b := newBench(t, clock.Real(), wrap)
		e := b.open()
		amid := "\x82\x7e\xff\xffbegun"
		e.write(e.service, amid)
		e.want(e.client, amid)
		b.r.CloseTunnel(b.r.List()[0].ID)
		start := time.Now()
		b.r.all()[0].Dismiss()
		e.wantOver(e.client)
		if waited := time.Since(start); waited > grace/2 {
			t.Errorf("it took %s", waited)
		}
		b.gone(1, ByOperator)
	})
}
