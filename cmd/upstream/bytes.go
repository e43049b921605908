package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/valyala/fasthttp"
)

// lineLength is the length of one line of the pattern in bytes: fifteen
// hexadecimal digits that give the line's offset, and a line feed.
const lineLength = 16

// bytes answers /bytes/N with N bytes of the [pattern]; with ?chunked=1 of a
// length that is not announced.
func (e *endpoint) bytes(ctx *fasthttp.RequestCtx) {
	text, _ := ctx.UserValue("n").(string)
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		e.refuse(ctx, fmt.Errorf("bytes %q: want a whole number", text))
		return
	}
	announced := n
	if ctx.QueryArgs().GetBool("chunked") {
		announced = -1
	}
	if _, err := discardBody(ctx); err != nil {
		e.refuse(ctx, err)
		return
	}
	ctx.SetContentType("application/octet-stream")
	ctx.Response.SetBodyStream(&pattern{end: int64(n)}, announced)
}

// pattern is a reader of bytes that depend on nothing but their offset: line k
// is the offset 16·k in hexadecimal, so that a missing, doubled or exchanged
// piece shows at sight. It is for one reader only.
type pattern struct {
	at, end int64 // offsets in bytes; at ≤ end
}

// Read fills p with the bytes from the present offset on; io.EOF at the end.
func (p *pattern) Read(b []byte) (int, error) {
	if p.at >= p.end {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.end-p.at)]
	for n := 0; n < len(b); {
		line := patternLine(p.at)
		written := copy(b[n:], line[p.at%lineLength:])
		n += written
		p.at += int64(written)
	}
	return len(b), nil
}

// patternLine returns the line that holds the byte at an offset.
func patternLine(offset int64) (line [lineLength]byte) {
	const digits = "0123456789abcdef"
	value := offset - offset%lineLength
	for i := lineLength - 2; i >= 0; i-- {
		line[i] = digits[value&15]
		value >>= 4
	}
	line[lineLength-1] = '\n'
	return line
}
