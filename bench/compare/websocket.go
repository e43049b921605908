package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// enoughSockets is how many idle WebSockets a result that is kept must have: with two
// descriptors each, about as many as a process may have by default on many machines.
const enoughSockets = 9000

// webSocketScenario is the one that a proxy is started for; its path is for the
// check that the proxy answers.
func webSocketScenario(subjects []string) *scenario {
	return &scenario{name: "websocket", method: "GET", path: "/health", sockets: true, subjects: subjects}
}

// webSocketResult is all that a run of WebSockets has shown.
type webSocketResult struct {
	idle []idleCost
	echo []measured // the samples' requests are messages, there and back
}

// startEcho starts the demo's upstream in the place of the origin.
func (st *stand) startEcho(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	p, err := startProcess(st.dir, "upstream", []string{fmt.Sprintf("GOMAXPROCS=%d", st.workers)}, filepath.Join(st.dir, "upstream"), "-listen", "live-classes="+address)
	if err != nil {
		return err
	}
	st.origin = &subject{name: direct, address: address, process: p}
	return p.await(ctx, func() error {
		_, err := st.digest(ctx, address, webSocketScenario(nil))
		return err
	})
}

// webSocketRun starts the subjects, measures what idle WebSockets cost each of them, and then
// the echo of busy ones in laps of rounds.
func (st *stand) webSocketRun(ctx context.Context) (*webSocketResult, error) {
	sc := webSocketScenario(st.subjects)
	var subjects []*subject
	defer func() { st.stopAll(subjects) }()
	for _, name := range sc.subjects {
		s, err := st.start(ctx, name, sc)
		if err != nil {
			return nil, err
		}
		subjects = append(subjects, s)
	}
	result := &webSocketResult{}
	for _, s := range subjects {
		if s == st.origin {
			continue
		}
		cost, err := st.idleSockets(ctx, s, st.webSockets)
		if err != nil {
			return nil, fmt.Errorf("idle WebSockets of %s: %w", s.name, err)
		}
		result.idle = append(result.idle, cost)
		st.say("%s: %s\n", s.name, cost)
	}
	for _, s := range subjects {
		if err := checkWorkers(s, st.workers); err != nil {
			return nil, err
		}
	}
	var err error
	result.echo, err = st.echoLaps(ctx, subjects)
	return result, err
}

// echoLaps visits the subjects in a new order for each lap. Each keeps its WebSockets
// for all rounds.
func (st *stand) echoLaps(ctx context.Context, subjects []*subject) ([]measured, error) {
	all := make([]measured, len(subjects))
	sockets := make([][]net.Conn, len(subjects))
	defer func() {
		for _, conns := range sockets {
			closeAll(conns)
		}
	}()
	for i, s := range subjects {
		all[i].subject = s.name
		var err error
		if sockets[i], err = openSockets(ctx, s.address, st.connections); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		if _, err := st.echoRound(s, sockets[i], warmUp); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for lap := range st.rounds {
		text := fmt.Sprintf("echo %d/%d:", lap+1, st.rounds)
		for _, i := range st.draw.Perm(len(subjects)) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			got, err := st.echoRound(subjects[i], sockets[i], st.duration)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", subjects[i].name, err)
			}
			all[i].samples = append(all[i].samples, got)
			text += fmt.Sprintf("  %s %.0f/s %.2f µs", subjects[i].name, got.rate, got.cpu)
		}
		st.say("%s\n", text)
	}
	return all, nil
}

// echoRound sends messages over all conns for a while, each as soon as the one before has
// come back.
func (st *stand) echoRound(s *subject, conns []net.Conn, d time.Duration) (sample, error) {
	var out sample
	pids, err := s.pids()
	if err != nil {
		return out, err
	}
	others := []int{os.Getpid()}
	if s != st.origin {
		others = append(others, st.origin.process.pid())
	}
	from, err := clocks(pids, others)
	if err != nil {
		return out, err
	}
	begun := time.Now()
	n, err := echoAll(conns, begun.Add(d))
	took := time.Since(begun)
	if err != nil {
		return out, err
	}
	to, err := clocks(pids, others)
	if err != nil {
		return out, err
	}
	cpu := to.subject - from.subject
	// A message costs the subject four system calls at least: two microseconds and more.
	if n == 0 || cpu < time.Duration(n)*time.Microsecond {
		return out, fmt.Errorf("%v of CPU for %d messages: the wrong processes were measured", cpu, n)
	}
	out.cpu = float64(cpu) / float64(time.Microsecond) / float64(n)
	out.rate = float64(n) / took.Seconds()
	out.others = max(0, float64(to.machine-from.machine-cpu-(to.behind-from.behind))/float64(took))
	return out, nil
}

// messageBytes is the payload of a message.
const messageBytes = 128

// echoAll has every connection echo until end, and returns how many messages came back.
func echoAll(conns []net.Conn, end time.Time) (int64, error) {
	var mu sync.Mutex // guards total and errs
	var total int64
	var errs []error
	var group sync.WaitGroup
	for _, c := range conns {
		group.Go(func() {
			n, err := echo(c, end)
			mu.Lock()
			defer mu.Unlock()
			total += n
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	group.Wait()
	return total, errors.Join(errs...)
}

// echo sends a message and wants it back, again and again until end.
func echo(c net.Conn, end time.Time) (n int64, err error) {
	if err := c.SetDeadline(end.Add(startPatience)); err != nil {
		return 0, fmt.Errorf("echo: %w", err)
	}
	message, want := frames(strings.Repeat("x", messageBytes))
	got := make([]byte, len(want))
	for ; time.Now().Before(end); n++ {
		if _, err := c.Write(message); err != nil {
			return n, fmt.Errorf("send message %d: %w", n, err)
		}
		if _, err := io.ReadFull(c, got); err != nil {
			return n, fmt.Errorf("read the echo of message %d: %w", n, err)
		}
		if !bytes.Equal(got, want) {
			return n, fmt.Errorf("the echo of message %d is %q", n, got)
		}
	}
	return n, nil
}

// frames are a text message as a client sends it, and as a server does (RFC 6455 §5.2).
func frames(text string) (masked, plain []byte) {
	const final, textFrame, mask, wide = 0x80, 1, 0x80, 126
	masked, plain = []byte{final | textFrame}, []byte{final | textFrame}
	if n := len(text); n < wide {
		masked, plain = append(masked, mask|byte(n)), append(plain, byte(n))
	} else { // no message here has 64 KiB
		masked = binary.BigEndian.AppendUint16(append(masked, mask|wide), uint16(n))
		plain = binary.BigEndian.AppendUint16(append(plain, wide), uint16(n))
	}
	key := [4]byte{7, 11, 13, 17}
	masked = append(masked, key[:]...)
	for i := range len(text) {
		masked = append(masked, text[i]^key[i%4])
	}
	return masked, append(plain, text...)
}

// handshake opens a WebSocket; the key is that of RFC 6455 §1.3.
const handshake = "GET /ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// openers is how many WebSockets are opened at once.
const openers = 8

// openSockets opens n WebSockets, or none.
func openSockets(ctx context.Context, address string, n int) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	errs := make([]error, openers)
	var group sync.WaitGroup
	for k := range openers {
		group.Go(func() {
			for i := k; i < n && errs[k] == nil; i += openers {
				conns[i], errs[k] = openSocket(ctx, address)
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		closeAll(conns)
		return nil, err
	}
	return conns, nil
}

// openSocket opens one. The service sends nothing before it is asked, so that what is
// read ends with the head.
func openSocket(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("open a WebSocket: %w", err)
	}
	_ = c.SetDeadline(time.Now().Add(startPatience)) // a connection that can't is found by Write
	if _, err := io.WriteString(c, handshake); err != nil {
		return nil, errors.Join(fmt.Errorf("open a WebSocket: %w", err), c.Close())
	}
	var head []byte
	var part [1024]byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) && len(head) < 16<<10 {
		n, err := c.Read(part[:])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open a WebSocket: %w after %q", err, head), c.Close())
		}
		head = append(head, part[:n]...)
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		return nil, errors.Join(fmt.Errorf("open a WebSocket: the answer is %q", head), c.Close())
	}
	return c, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			_ = c.Close() // nothing is under way on it
		}
	}
}
