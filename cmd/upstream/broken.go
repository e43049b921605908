package main

import (
	"bytes"
	"errors"
	"io"
	"net"

	"github.com/valyala/fasthttp"
)

// dropLength is the length that /drop announces and never delivers.
const dropLength = 100_000

var errDropped = errors.New("dropped on purpose")

// drop answers /drop?after=N: it announces dropLength bytes, sends N of them
// (default 1000) and closes the connection. With after=-1 not even a head is
// sent; chunked=1 announces no length and leaves out the last chunk; rst=1
// resets the connection instead of closing it.
func (e *endpoint) drop(ctx *fasthttp.RequestCtx) {
	after, err := number(ctx, "after", 1000)
	if err != nil {
		e.refuse(ctx, err)
		return
	}
	if _, err := discardBody(ctx); err != nil {
		e.refuse(ctx, err)
		return
	}
	if tcp, ok := ctx.Conn().(*net.TCPConn); ok && ctx.QueryArgs().GetBool("rst") {
		// No lingering: Close sends RST. What was written before is in the
		// peer's hands already.
		_ = tcp.SetLinger(0)
	}
	if after < 0 {
		ctx.HijackSetNoResponse(true)
		ctx.Hijack(func(net.Conn) {}) // the server closes the connection afterwards
		return
	}
	announced := dropLength
	if ctx.QueryArgs().GetBool("chunked") {
		announced = -1
	}
	ctx.SetContentType("application/octet-stream")
	ctx.Response.ImmediateHeaderFlush = true // else a short body would die unsent in the buffer
	ctx.Response.SetBodyStream(&dying{left: pattern{end: int64(min(after, dropLength-1))}}, announced)
}

// dying is a body that ends in an error: the server then cuts the connection.
type dying struct {
	left pattern
}

// Read returns what is left, and then errDropped for ever.
func (d *dying) Read(p []byte) (int, error) {
	n, err := d.left.Read(p)
	if err == io.EOF {
		return 0, errDropped
	}
	return n, err
}

// early answers 413 and closes. headReceived and expect saw to it that no byte
// of the body is read before; what the client still sends meets a closed
// connection, which is what makes this answer hard to relay.
func (e *endpoint) early(ctx *fasthttp.RequestCtx) {
	answerJSON(ctx, fasthttp.StatusRequestEntityTooLarge, map[string]string{
		"service": e.service, "endpoint": e.address, "error": "too large, without a look at it",
	})
	ctx.SetConnectionClose()
}

// headReceived runs when a head is complete. The server would read the
// beginning of a body before it asks for an answer; /early forgets the body.
func (e *endpoint) headReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if e.isEarly(h.RequestURI()) {
		h.SetContentLength(0)
	}
	return fasthttp.RequestConfig{}
}

// expect answers "Expect: 100-continue": every path goes on, /early does not.
func (e *endpoint) expect(ctx *fasthttp.RequestCtx) int {
	if !e.isEarly(ctx.Request.Header.RequestURI()) {
		return fasthttp.StatusContinue
	}
	e.sign(ctx)
	e.early(ctx)
	return fasthttp.StatusRequestEntityTooLarge
}

func (e *endpoint) isEarly(target []byte) bool {
	path, _, _ := bytes.Cut(target, []byte("?"))
	rest, below := bytes.CutPrefix(path, []byte("/"+e.service))
	return string(path) == "/early" || below && string(rest) == "/early"
}
