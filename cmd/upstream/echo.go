package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/valyala/fasthttp"
)

// echoLimit is the largest request body that /echo gives back, in bytes.
const echoLimit = 16 << 20

// echo answers with the request as it was received: the request line, every
// field line in its order and spelling, the blank line, and the body. A chunked
// body comes back decoded, and its trailer fields each as a response field
// "X-Trailer: name: value".
func (e *endpoint) echo(ctx *fasthttp.RequestCtx) {
	var body bytes.Buffer
	if stream := ctx.RequestBodyStream(); stream != nil {
		n, err := io.Copy(&body, io.LimitReader(stream, echoLimit+1))
		switch {
		case err != nil:
			e.refuse(ctx, fmt.Errorf("read request body after %d bytes: %w", n, err))
			return
		case n > echoLimit:
			e.refuse(ctx, fmt.Errorf("request body over %d bytes", echoLimit))
			return
		}
		if err := wholeBody(ctx, n); err != nil {
			e.refuse(ctx, err)
			return
		}
	}
	h := &ctx.Request.Header
	for _, name := range h.PeekTrailerKeys() {
		ctx.Response.Header.Add("X-Trailer", fmt.Sprintf("%s: %s", name, h.PeekBytes(name)))
	}
	var text []byte
	text = append(text, h.Method()...)
	text = append(text, ' ')
	text = append(text, h.RequestURI()...)
	text = append(text, ' ')
	text = append(text, h.Protocol()...)
	text = append(text, "\r\n"...)
	if raw := h.RawHeaders(); len(raw) > 0 {
		text = append(text, raw...)
	} else {
		text = append(text, "\r\n"...) // the parser keeps no copy of an empty field section
	}
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.SetBody(append(text, body.Bytes()...))
}
