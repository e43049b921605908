package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// bufferSize is the room for one request head, in bytes.
const bufferSize = 16 << 10

// stats is what has reached the origin so far.
type stats struct {
	Accepts  int64 `json:"accepts"`  // connections, those that asked only for /stats too
	Open     int64 `json:"open"`     // of them, now
	Requests int64 `json:"requests"` // answered, without /stats
}

// origin is the server. Its methods may be called from any goroutine.
type origin struct {
	listener net.Listener
	answers  answers
	broken   []byte // given to share of the requests; nil: to none
	share    float64
	serving  sync.WaitGroup // the goroutines of the connections

	mu       sync.Mutex // held when a connection comes or goes, and for /stats
	open     map[*connection]struct{}
	accepts  int64
	finished int64 // requests of connections that are gone
	stopped  bool
}

// connection is one client's. The count is written by its own goroutine and
// read for /stats; being apart for each connection, it is never contended.
type connection struct {
	net.Conn
	requests atomic.Int64
	buf      [bufferSize]byte
	filled   int // bytes of buf that have been read and not used
}

func newOrigin(ln net.Listener) *origin {
	return &origin{listener: ln, answers: newAnswers(time.Now()), open: make(map[*connection]struct{})}
}

// serve accepts until stop; it returns nil then, else why accepting failed.
func (o *origin) serve() error {
	for {
		conn, err := o.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		c := &connection{Conn: conn}
		if !o.enter(c) {
			_ = conn.Close()
			return nil
		}
		go o.answer(c) // stop closes its connection and waits for it
	}
}

// stop closes the listener and every connection, and waits for their end.
func (o *origin) stop() {
	_ = o.listener.Close()
	o.mu.Lock()
	o.stopped = true
	for c := range o.open {
		_ = c.Close()
	}
	o.mu.Unlock()
	o.serving.Wait()
}

func (o *origin) enter(c *connection) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped {
		return false
	}
	o.accepts++
	o.open[c] = struct{}{}
	o.serving.Add(1)
	return true
}

func (o *origin) leave(c *connection) {
	o.mu.Lock()
	delete(o.open, c)
	o.finished += c.requests.Load()
	o.mu.Unlock()
	_ = c.Close()
	o.serving.Done()
}

func (o *origin) stats() stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := stats{Accepts: o.accepts, Open: int64(len(o.open)), Requests: o.finished}
	for c := range o.open {
		s.Requests += c.requests.Load()
	}
	return s
}

// answer serves one connection until it ends or breaks the rules.
func (o *origin) answer(c *connection) {
	defer o.leave(c)
	for {
		r, n, err := parseRequest(c.buf[:c.filled])
		if errors.Is(err, errIncomplete) {
			if !c.more() {
				return
			}
			continue
		}
		if err != nil {
			_, _ = c.Write(head("400 Bad Request", "Content-Length: 0\r\nConnection: close"))
			return
		}
		text := o.choose(c, &r) // before the buffer, and with it the target, moves
		last := r.last
		if !c.skip(n + r.body) {
			return
		}
		if _, err := c.Write(text); err != nil || last {
			return
		}
	}
}

// choose returns the bytes that answer r.
func (o *origin) choose(c *connection, r *request) []byte {
	a, ok := o.answers[string(r.target)]
	switch {
	case ok && o.broken != nil && rand.Float64() < o.share:
		c.requests.Add(1)
		return o.broken
	case ok:
		c.requests.Add(1)
	case string(r.target) == "/stats":
		text, err := json.Marshal(o.stats())
		if err != nil { // three numbers always can be
			return head("500 Internal Server Error", "Content-Length: 0")
		}
		h := head("200 OK", fmt.Sprintf("Content-Length: %d", len(text)))
		a = answer{head: h, whole: append(h[:len(h):len(h)], text...)}
	default:
		return head("404 Not Found", "Content-Length: 0")
	}
	if r.head {
		return a.head
	}
	return a.whole
}

// more reads what has arrived; false ends the connection.
func (c *connection) more() bool {
	if c.filled == len(c.buf) {
		return false // a head larger than the buffer
	}
	n, err := c.Read(c.buf[c.filled:])
	c.filled += n
	return err == nil
}

// skip drops the next n bytes, buffered or still to come.
func (c *connection) skip(n int) bool {
	if n <= c.filled {
		c.filled = copy(c.buf[:], c.buf[n:c.filled])
		return true
	}
	_, err := io.CopyN(io.Discard, c.Conn, int64(n-c.filled))
	c.filled = 0
	return err == nil
}
