package main

import (
	"fmt"
	"strings"
	"time"
)

// Sizes of the bodies, in bytes.
const (
	smallBody  = 128
	mediumBody = 64 << 10
	streamBody = 128 << 10
	chunkBody  = 8 << 10 // of one chunk
)

// answer is one response, ready to be written.
type answer struct {
	head  []byte // status line and fields, with the blank line
	whole []byte // head and body
}

// answers is the table of all answers by target. It is built once; Date is
// therefore that of the start, which costs no answer a clock.
type answers map[string]answer

func newAnswers(now time.Time) answers {
	date := now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	return answers{
		"/small":   fixed(date, body(smallBody)),
		"/64k":     fixed(date, body(mediumBody)),
		"/stream":  fixed(date, body(streamBody)),
		"/chunked": chunked(date, body(streamBody)),
	}
}

func head(status, framing string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %s\r\nServer: origin\r\nContent-Type: text/plain\r\n%s\r\n\r\n", status, framing)
}

func fixed(date, text string) answer {
	h := head("200 OK", fmt.Sprintf("Date: %s\r\nContent-Length: %d", date, len(text)))
	return answer{head: h, whole: append(h[:len(h):len(h)], text...)}
}

func chunked(date, text string) answer {
	h := head("200 OK", "Date: "+date+"\r\nTransfer-Encoding: chunked")
	whole := h[:len(h):len(h)]
	for ; text != ""; text = text[chunkBody:] {
		whole = fmt.Appendf(whole, "%x\r\n%s\r\n", chunkBody, text[:chunkBody])
	}
	return answer{head: h, whole: append(whole, "0\r\n\r\n"...)}
}

// body is n bytes of text in which each line of 16 bytes is its own offset, so
// that no piece of it equals another.
func body(n int) string {
	var b strings.Builder
	for offset := 0; offset < n; offset += 16 {
		fmt.Fprintf(&b, "%015x\n", offset)
	}
	return b.String()[:n]
}
