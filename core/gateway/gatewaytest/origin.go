package gatewaytest

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Origin is an endpoint that records every byte it gets and answers as it is told.
type Origin struct {
	t        testing.TB
	listener net.Listener
	scheme   string
	serve    func(*OriginConn)
	group    sync.WaitGroup

	mu       sync.Mutex // guards all below
	requests []string
	conns    []net.Conn
	accepts  int
	closed   bool
}

// OriginConn is one connection that an origin accepted.
type OriginConn struct {
	net.Conn
	R      *bufio.Reader
	origin *Origin
}

// OK is a small whole answer.
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// NewOrigin starts an endpoint that answers each request with what answer returns
// for its raw bytes. An answer of "" closes the connection without a word.
func NewOrigin(t testing.TB, answer func(request string) string) *Origin {
	return NewRawOrigin(t, replying(answer))
}

// NewTLSOrigin is NewOrigin over TLS.
func NewTLSOrigin(t testing.TB, config *tls.Config, answer func(request string) string) *Origin {
	t.Helper()
	return newOrigin(t, config, replying(answer))
}

func replying(answer func(request string) string) func(*OriginConn) {
	return func(c *OriginConn) {
		for {
			request, err := c.ReadRequest()
			if err != nil {
				return
			}
			reply := answer(request)
			if reply == "" {
				return
			}
			if _, err := io.WriteString(c, reply); err != nil {
				return
			}
		}
	}
}

// NewRawOrigin starts an endpoint whose connections are served by serve; each is
// closed when serve returns.
func NewRawOrigin(t testing.TB, serve func(*OriginConn)) *Origin {
	t.Helper()
	return newOrigin(t, nil, serve)
}

// NewRawTLSOrigin is NewRawOrigin over TLS.
func NewRawTLSOrigin(t testing.TB, config *tls.Config, serve func(*OriginConn)) *Origin {
	t.Helper()
	return newOrigin(t, config, serve)
}

// newOrigin speaks TLS if config is not nil.
func newOrigin(t testing.TB, config *tls.Config, serve func(*OriginConn)) *Origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("starting an origin: %v", err)
	}
	o := &Origin{t: t, listener: l, scheme: "http://", serve: serve}
	if config != nil {
		o.listener, o.scheme = tls.NewListener(l, config), "https://"
	}
	o.group.Go(o.accept)
	t.Cleanup(o.Close)
	return o
}

func (o *Origin) accept() {
	for {
		conn, err := o.listener.Accept()
		if err != nil {
			return
		}
		if !o.keep(conn) {
			_ = conn.Close()
			return
		}
		o.group.Go(func() {
			defer conn.Close()
			o.serve(&OriginConn{Conn: conn, R: bufio.NewReader(conn), origin: o})
		})
	}
}

func (o *Origin) keep(conn net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.accepts++
	o.conns = append(o.conns, conn)
	return !o.closed
}

// Close stops the origin and its connections.
func (o *Origin) Close() {
	_ = o.listener.Close()
	o.mu.Lock()
	o.closed = true
	conns := o.conns
	o.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
	}
	o.group.Wait()
}

// Address is host:port.
func (o *Origin) Address() string { return o.listener.Addr().String() }

// URL is the address as a configuration names it.
func (o *Origin) URL() string { return o.scheme + o.Address() }

// Requests returns the raw bytes of each request so far, broken ones included.
func (o *Origin) Requests() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.requests...)
}

// Accepts is how many connections were accepted.
func (o *Origin) Accepts() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.accepts
}

func (o *Origin) record(raw string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, raw)
}

// ReadRequest reads one request by its own framing and records it. What breaks
// off half-way is recorded as far as it came.
func (c *OriginConn) ReadRequest() (string, error) {
	var raw strings.Builder
	err := c.readRequest(&raw)
	if raw.Len() > 0 {
		c.origin.record(raw.String())
	}
	return raw.String(), err
}

func (c *OriginConn) readRequest(raw *strings.Builder) error {
	length, chunked := int64(0), false
	for {
		line, err := c.R.ReadString('\n')
		raw.WriteString(line)
		if err != nil {
			return err
		}
		if line == "\r\n" {
			break
		}
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		switch {
		case strings.EqualFold(name, "Content-Length"):
			length, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		case strings.EqualFold(name, "Transfer-Encoding"):
			chunked = true
		}
	}
	if chunked {
		reader := &Client{r: c.R}
		return reader.chunks(raw)
	}
	_, err := io.CopyN(raw, c.R, length)
	return err
}

// Eventually fails the test unless ok becomes true in time.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
