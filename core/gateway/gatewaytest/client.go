package gatewaytest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must come. It is long, for machines
// that are busy; nothing waits for it when all is well.
const patience = 10 * time.Second

// Client is a raw connection: it sends exactly the bytes it is given and shows
// exactly those that come back.
type Client struct {
	t    testing.TB
	Conn net.Conn
	r    *bufio.Reader
}

// Dial opens a connection that the test closes.
func Dial(t testing.TB, address string) *Client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatalf("dialling: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return Over(t, conn)
}

// Over is a client on a connection that the test has made and closes.
func Over(t testing.TB, conn net.Conn) *Client {
	return &Client{t: t, Conn: conn, r: bufio.NewReader(conn)}
}

// DialTLS is Dial with a handshake, which must succeed.
func DialTLS(t testing.TB, address string, config *tls.Config) *Client {
	t.Helper()
	c := Dial(t, address)
	c.Handshake(config)
	return c
}

// Handshake makes the rest of the connection one over TLS, or fails the test.
func (c *Client) Handshake(config *tls.Config) {
	c.t.Helper()
	secure := tls.Client(c.Conn, config)
	_ = secure.SetDeadline(time.Now().Add(patience))
	if err := secure.Handshake(); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.Conn = secure
	c.r.Reset(secure)
}

// Write sends raw as it is.
func (c *Client) Write(raw string) {
	c.t.Helper()
	_ = c.Conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c.Conn, raw); err != nil {
		c.t.Fatalf("writing: %v", err)
	}
}

// TryWrite sends raw and tells what went wrong, where the peer may have left.
func (c *Client) TryWrite(raw string) error {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := io.WriteString(c.Conn, raw)
	return err
}

// Read returns the whole next response, head and body as they came, by its own
// framing; method is the request's. It fails the test when none comes.
func (c *Client) Read(method string) string {
	c.t.Helper()
	response, err := c.TryRead(method)
	if err != nil {
		c.t.Fatalf("reading the response: %v; got %q", err, response)
	}
	return response
}

// TryRead is Read for responses that may be cut short: it returns what came.
func (c *Client) TryRead(method string) (string, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(patience))
	var raw strings.Builder
	head, err := c.head(&raw)
	if err != nil {
		return raw.String(), err
	}
	status := head.status
	switch {
	case status >= 100 && status < 200, status == 204, status == 304, method == "HEAD":
		return raw.String(), nil
	case head.chunked:
		err = c.chunks(&raw)
	case head.length >= 0:
		_, err = io.CopyN(&raw, c.r, head.length)
	default:
		_, err = io.Copy(&raw, c.r)
	}
	return raw.String(), err
}

// Rest returns what comes until the peer closes.
func (c *Client) Rest() (string, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(c.r)
	return string(rest), err
}

// Take returns the next n bytes, or fails the test.
func (c *Client) Take(n int) string {
	c.t.Helper()
	_ = c.Conn.SetReadDeadline(time.Now().Add(patience))
	p := make([]byte, n)
	if read, err := io.ReadFull(c.r, p); err != nil {
		c.t.Fatalf("reading %d bytes: %v; got %q", n, err, p[:read])
	}
	return string(p)
}

// TakeLine returns the next line with its end, or fails the test.
func (c *Client) TakeLine() string {
	c.t.Helper()
	_ = c.Conn.SetReadDeadline(time.Now().Add(patience))
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("reading a line: %v; got %q", err, line)
	}
	return line
}

// Peek waits for the next n bytes and leaves them where they are. It returns fewer
// with what went wrong.
func (c *Client) Peek(n int) (string, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(patience))
	p, err := c.r.Peek(n)
	return string(p), err
}

// Until returns what comes up to the first end, that included, or what came of it
// with what went wrong.
func (c *Client) Until(end string) (string, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(patience))
	var raw strings.Builder
	for !strings.HasSuffix(raw.String(), end) {
		b, err := c.r.ReadByte()
		if err != nil {
			return raw.String(), err
		}
		raw.WriteByte(b)
	}
	return raw.String(), nil
}

// Closed fails the test unless the peer closes and sends nothing more.
func (c *Client) Closed() {
	c.t.Helper()
	rest, err := c.Rest()
	if rest != "" || isTimeout(err) {
		c.t.Fatalf("want the connection closed, got %q and %v", rest, err)
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// framing is what says where a response ends.
type framing struct {
	status  int
	length  int64
	chunked bool
}

func (c *Client) head(raw *strings.Builder) (framing, error) {
	f := framing{length: -1}
	for first := true; ; first = false {
		line, err := c.r.ReadString('\n')
		raw.WriteString(line)
		if err != nil {
			return f, err
		}
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		value = strings.TrimSpace(value)
		switch {
		case first:
			if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &f.status); err != nil {
				return f, fmt.Errorf("bad status line %q", line)
			}
		case line == "\r\n":
			return f, nil
		case strings.EqualFold(name, "Content-Length"):
			f.length, err = strconv.ParseInt(value, 10, 64)
		case strings.EqualFold(name, "Transfer-Encoding"):
			f.chunked = value == "chunked"
		}
		if err != nil {
			return f, err
		}
	}
}

func (c *Client) chunks(raw *strings.Builder) error {
	for {
		line, err := c.r.ReadString('\n')
		raw.WriteString(line)
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.TrimRight(line, "\r\n"), 16, 64)
		if err != nil {
			return err
		}
		if n == 0 {
			return c.trailer(raw)
		}
		if _, err := io.CopyN(raw, c.r, n+2); err != nil {
			return err
		}
	}
}

func (c *Client) trailer(raw *strings.Builder) error {
	for {
		line, err := c.r.ReadString('\n')
		raw.WriteString(line)
		if err != nil || line == "\r\n" {
			return err
		}
	}
}

var (
	dateLine = regexp.MustCompile(`(?m)^Date: [^\r]+\r\n`)
	freshID  = regexp.MustCompile(`[0-9a-f]{32}`)
)

// Scrub takes the Date away and puts <id> where a fresh correlation id stands,
// so that whole responses can be compared.
func Scrub(response string) string {
	return freshID.ReplaceAllString(dateLine.ReplaceAllString(response, ""), "<id>")
}
