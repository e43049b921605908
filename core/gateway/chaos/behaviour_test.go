package chaos

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// behaviours are what clients do, by the names that the table uses. Each returns
// what came of its request.
var behaviours = map[string]func(*cell) string{
	"GET":               func(c *cell) string { return c.exchange("GET", "GET %s/small HTTP/1.1\r\nHost: h\r\n\r\n") },
	"HEAD":              func(c *cell) string { return c.exchange("HEAD", "HEAD %s/small HTTP/1.1\r\nHost: h\r\n\r\n") },
	"POST":              func(c *cell) string { return c.exchange("POST", post("")) },
	"POST with its key": func(c *cell) string { return c.exchange("POST", post("Idempotency-Key: k\r\n")) },
	"upload":            upload,
	"broken upload":     brokenUpload,
	"download":          func(c *cell) string { return c.download("GET %s/long HTTP/1.1\r\nHost: h\r\n\r\n", longBody) },
	"chunked download":  func(c *cell) string { return c.download("GET %s/chunked HTTP/1.1\r\nHost: h\r\n\r\n", longBody) },
	"download to close": func(c *cell) string { return c.download("GET %s/close HTTP/1.1\r\nHost: h\r\n\r\n", longBody) },
	"download by 1.0":   func(c *cell) string { return c.download("GET %s/chunked HTTP/1.0\r\nHost: h\r\n\r\n", longBody) },
	"slow reader":       slowReader,
	"events":            events,
	"leaver":            leaver,
	"broken download":   brokenDownload,
}

func post(fields string) string {
	return fmt.Sprintf("POST %%s/small HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n%s", fields, smallBody, body(smallBody))
}

// exchange sends a request at once and reads its answer.
func (c *cell) exchange(method, request string) string {
	c.strike()
	c.client.Write(fmt.Sprintf(request, c.route))
	answer, err := c.client.TryRead(method)
	return told(method, answer, err, smallBody)
}

// download reads a long answer. What strikes midway does so when the head has come.
func (c *cell) download(request string, size int) string {
	c.strikeBefore()
	c.client.Write(fmt.Sprintf(request, c.route))
	c.status()
	c.strikeMidway()
	answer, err := c.client.TryRead("GET")
	return told("GET", answer, err, size)
}

// status waits for the status line and returns its beginning, or what came instead.
func (c *cell) status() string {
	line, _ := c.client.Peek(len("HTTP/1.1 200")) // whoever reads next meets the error again
	return line
}

// upload sends a body of a length that it doesn't tell. What strikes midway does
// so when the endpoint has the first half.
func upload(c *cell) string {
	half := body(longBody / 2)
	head := fmt.Sprintf("POST %s/small HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", c.route) + chunk(half)
	if !c.fault.midway {
		c.strike()
		c.client.Write(head + chunk(half) + "0\r\n\r\n")
	} else {
		c.client.Write(head)
		gatewaytest.Eventually(c.t, "the endpoint gets the first half", func() bool { return c.endpoint.received.Load() > int64(len(half)) })
		c.strike()
		if c.fault.toxic != down { // its answer doesn't wait for the rest
			c.client.Write(chunk(half) + "0\r\n\r\n")
		}
	}
	answer, err := c.client.TryRead("POST")
	return told("POST", answer, err, smallBody)
}

// brokenUpload leaves when the endpoint has a half of the body.
func brokenUpload(c *cell) string {
	defer c.leave()
	half := body(longBody / 2)
	c.strike()
	c.client.Write(fmt.Sprintf("POST %s/small HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", c.route) + chunk(half))
	gatewaytest.Eventually(c.t, "the endpoint gets the first half", func() bool { return c.endpoint.received.Load() > int64(len(half)) })
	return "left"
}

// slowReader takes a kibibyte every millisecond, and its kernel takes little more.
func slowReader(c *cell) string {
	conn := c.client.Conn.(*net.TCPConn)
	if err := conn.SetReadBuffer(4 << 10); err != nil {
		c.t.Fatal(err)
	}
	slow := &trickle{Conn: conn, tick: time.NewTicker(time.Millisecond)}
	c.t.Cleanup(slow.tick.Stop)
	c.client = gatewaytest.Over(c.t, slow)
	return c.download("GET %s/slow HTTP/1.1\r\nHost: h\r\n\r\n", slowBody)
}

// trickle is a connection that is read slowly.
type trickle struct {
	net.Conn
	tick *time.Ticker
}

func (r *trickle) Read(p []byte) (int, error) {
	<-r.tick.C
	return r.Conn.Read(p[:min(len(p), 1<<10)])
}

// events listens to two events, and leaves.
func events(c *cell) string {
	defer c.leave()
	c.strikeBefore()
	c.client.Write(fmt.Sprintf("GET %s/events HTTP/1.1\r\nHost: h\r\n\r\n", c.route))
	if !strings.HasSuffix(c.status(), " 200") {
		answer, err := c.client.TryRead("GET")
		return told("GET", answer, err, endless)
	}
	got, err := c.client.Until(event)
	c.strikeMidway()
	if err == nil {
		_, err = c.client.Until(event)
	}
	if err == nil {
		return "two events"
	}
	return told("GET", got, err, endless)
}

// leaver goes away as soon as something comes; where nothing can, as soon as the
// gateway waits for the service.
func leaver(c *cell) string {
	defer c.leave()
	c.route = patient
	c.strikeBefore()
	c.client.Write(fmt.Sprintf("GET %s/events HTTP/1.1\r\nHost: h\r\n\r\n", c.route))
	if c.fault.silent && !c.fault.midway {
		gatewaytest.Eventually(c.t, "the gateway waits", func() bool { return c.metric(busy) == 1 })
		return "left"
	}
	first := c.status()
	c.strikeMidway()
	if strings.HasSuffix(first, " 200") {
		return "left"
	}
	answer, err := c.client.TryRead("GET")
	return told("GET", answer, err, endless)
}

// brokenDownload leaves at the beginning of a long answer, whose rest then meets a
// closed connection.
func brokenDownload(c *cell) string {
	c.strike() // toxiproxy waits for ever to change what a connection meets that broke with bytes in it
	c.client.Write(fmt.Sprintf("GET %s/huge HTTP/1.1\r\nHost: h\r\n\r\n", c.route))
	c.status()
	c.leave()
	return "left"
}

// endless is the size of an answer without an end.
const endless = 0

// told says in a few words what a client got: the status and the code of a fault,
// and whether the transfer was whole. size is of the body of a 200.
func told(method, answer string, err error, size int) string {
	head, content, _ := strings.Cut(answer, "\r\n\r\n")
	var status int
	if _, failed := fmt.Sscanf(head, "HTTP/1.1 %d", &status); failed != nil {
		return fmt.Sprintf("nothing (%q, %v)", answer, err)
	}
	switch {
	case err != nil && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return fmt.Sprintf("%d, cut", status)
	case err != nil:
		return fmt.Sprintf("%d, %v", status, err)
	case status != 200:
		_, code, _ := strings.Cut(content, `"code":"`)
		code, _, _ = strings.Cut(code, `"`)
		return strings.TrimSpace(fmt.Sprintf("%d %s", status, code))
	case method == "HEAD" && content == "" || method != "HEAD" && unchunked(head, content) == body(size):
		return "200"
	default:
		return "200, " + short(unchunked(head, content), body(size))
	}
}

// short says what is wrong with a body that ended well.
func short(got, want string) string {
	if strings.HasPrefix(want, got) {
		return "short"
	}
	return fmt.Sprintf("with other bytes: %.100q", got)
}

// unchunked takes the chunks of a body apart, if it has any.
func unchunked(head, content string) string {
	if !strings.Contains(head, "Transfer-Encoding: chunked") {
		return content
	}
	var b strings.Builder
	for {
		size, rest, _ := strings.Cut(content, "\r\n")
		var n int
		if _, err := fmt.Sscanf(size, "%x", &n); err != nil || n == 0 || len(rest) < n+2 {
			return b.String()
		}
		b.WriteString(rest[:n])
		content = rest[n+2:]
	}
}
