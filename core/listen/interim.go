package listen

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"
)

// Interim sends a 1xx answer now, ahead of the final one (RFC 9110 §15.2), with
// the fields of h but those that only a final answer or one connection can have.
// The answers before it are out, because the parser has no later message yet.
// HTTP/1.0 clients know no interim answers: they get none, and that is no error.
// h is borrowed. It belongs to the goroutine that writes.
func (c *Conn) Interim(status int, h *fasthttp.ResponseHeader) error {
	if status < http.StatusContinue || status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		return fmt.Errorf("interim answer: %d is no interim status", status)
	}
	if c.scanner.Head().Minor == 0 {
		return nil
	}
	room := c.listener.buffers.Get().(*buffer)
	defer c.listener.buffers.Put(room)
	b := append(room.bytes[:0], "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	b = append(b, "\r\n"...)
	for name, value := range h.All() {
		if finalOnly(name) {
			continue
		}
		b = append(b, name...)
		b = append(b, ": "...)
		b = append(b, value...)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	room.bytes = b[:0]
	if _, err := c.Write(b); err != nil {
		return fmt.Errorf("interim answer %d: %w", status, err)
	}
	return nil
}

// finalOnly names the fields that have no place in an interim answer: it has no
// content, and frames nothing.
func finalOnly(name []byte) bool {
	for _, f := range [...]string{"Content-Length", "Content-Type", "Transfer-Encoding", "Trailer", "Connection", "Keep-Alive", "Upgrade"} {
		if len(name) == len(f) && bytes.EqualFold(name, []byte(f)) {
			return true
		}
	}
	return false
}
