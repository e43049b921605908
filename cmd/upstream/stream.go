package main

import (
	"fmt"
	"io"
	"time"

	"github.com/valyala/fasthttp"
)

// sse answers /sse?n=N&ms=M with N events (default 10; 0 is endless), M
// milliseconds apart (default 100). The first leaves at once.
func (e *endpoint) sse(ctx *fasthttp.RequestCtx) {
	n, err := number(ctx, "n", 10)
	if err != nil {
		e.refuse(ctx, err)
		return
	}
	ms, err := number(ctx, "ms", 100)
	if err != nil {
		e.refuse(ctx, err)
		return
	}
	ctx.SetContentType("text/event-stream")
	ctx.Response.Header.Set("Cache-Control", "no-cache")
	ctx.Response.ImmediateHeaderFlush = true
	ctx.SetBodyStream(&events{endpoint: e, count: n, gap: delay(ms)}, -1)
}

// events is the body of an event stream. Its Read waits until the next event is
// due; the server flushes after each Read, so events leave as they come.
type events struct {
	endpoint *endpoint
	count    int // how many in all; ≤ 0 is endless
	sent     int
	gap      time.Duration
	rest     []byte // of the event that is being read
}

// Read returns the next bytes of the stream; io.EOF after the last event, and
// early when the endpoint stops.
func (s *events) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.count > 0 && s.sent >= s.count {
			return 0, io.EOF
		}
		if s.sent > 0 && !s.endpoint.wait(s.gap) {
			return 0, io.EOF
		}
		s.sent++
		s.rest = fmt.Appendf(nil, "id: %d\nevent: tick\ndata: {\"service\":%q,\"n\":%d}\n\n", s.sent, s.endpoint.service, s.sent)
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
