package listen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/wire"
)

// verdict is what the scanner alone makes of a byte stream.
type verdict struct {
	whole     int   // bytes in complete messages
	passed    int   // bytes of the message behind them that passed
	headEnd   int   // where the head of that message ends, -1 if it does not
	starts    []int // where messages begin whose head is complete
	lengths   []int64
	violation error // what ended it; nil: the stream did
}

// scanAll feeds the scanner byte by byte, message after message.
func scanAll(data []byte) verdict {
	v := verdict{headEnd: -1}
	limits := roomy
	var s wire.RequestScanner
	for {
		s.Reset(&limits)
		v.passed, v.headEnd = 0, -1
		for v.whole+v.passed < len(data) && !s.Done() {
			// Byte by byte, which tells where the head ends.
			at := v.whole + v.passed
			n, err := s.Scan(data[at : at+1])
			v.passed += n
			if err != nil {
				v.violation = err
				return v
			}
			if s.HeadDone() && v.headEnd < 0 {
				v.headEnd = v.passed
				v.starts, v.lengths = append(v.starts, v.whole), append(v.lengths, s.Head().ContentLength)
			}
		}
		if !s.Done() {
			return v
		}
		v.whole += v.passed
	}
}

// seeds are streams of all kinds.
func seeds() [][]byte {
	var all [][]byte
	for _, r := range requests {
		all = append(all, []byte(r.send+get("/next")), []byte(r.send[:len(r.send)-1]))
	}
	for _, b := range bad {
		all = append(all, []byte(get("/ok")+b.send+get("/smuggled")))
	}
	return append(all, []byte(postChunked("/")+"3\r\nabc\r\nzz\r\n"), []byte("HEAD http://a/x HTTP/1.0\r\nHost: a\r\n\r\n"),
		[]byte("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"+get("/")), []byte("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"+get("/")),
		[]byte("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"+get("/")))
}

// FuzzRead: whatever a client sends and however it is read, the parser gets whole
// messages as they are, never the head of a message that is refused with it, and
// the error that fits.
func FuzzRead(f *testing.F) {
	for i, send := range seeds() {
		f.Add(send, uint16(1<<i), i%2 == 0)
	}
	l, err := Listen("127.0.0.1:0", Options{Limits: roomy, HeaderTimeout: waitAtMost, IdleTimeout: waitAtMost, BodyTimeout: waitAtMost})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	f.Fuzz(func(t *testing.T, data []byte, size uint16, together bool) {
		if len(data) > 32<<10 {
			data = data[:32<<10]
		}
		want := scanAll(data)
		peer := dialAddr(t, l.Addr().String())
		defer peer.Close()
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c := accepted.(*Conn)
		defer c.Close()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			if half := len(data) / 2; !together {
				_, _ = peer.Write(data[:half]) // the reader tells
				data = data[half:]
			}
			_, _ = peer.Write(data) // as above
			_ = peer.CloseWrite()   // as above
		}()
		var got []byte
		p := make([]byte, int(size)+1)
		for err == nil {
			var n int
			n, err = c.Read(p)
			got = append(got, p[:n]...)
		}
		if _, again := c.Read(p); again != err {
			t.Errorf("the error changes from %v to %v", err, again)
		}
		c.Abort() // leaves no TIME_WAIT behind, of which there would be thousands
		<-sent
		checkRead(t, want, got, err)
	})
}

func checkRead(t *testing.T, want verdict, got []byte, err error) {
	t.Helper()
	tail := len(got) - want.whole
	if tail < 0 {
		t.Fatalf("got %d bytes of %d in whole messages, then %v", len(got), want.whole, err)
	}
	var violation *wire.Violation
	switch {
	case want.violation != nil:
		if !errors.As(err, &violation) || err != want.violation {
			t.Fatalf("got %v, want %v", err, want.violation)
		}
		if tail == 0 {
			t.Fatal("the violation came before a byte of its message")
		}
		if want.headEnd < 0 && bytes.Contains(got[want.whole:], []byte("\r\n\r\n")) {
			t.Fatalf("the parser got a head that is refused: %q", got[want.whole:])
		}
	case want.passed > 0:
		if err != io.ErrUnexpectedEOF || tail != want.passed {
			t.Fatalf("got %v after %d bytes, want a truncated message of %d", err, tail, want.passed)
		}
	default:
		if err != io.EOF || tail != 0 {
			t.Fatalf("got %v after %d bytes more", err, tail)
		}
	}
}

// FuzzAgree: the parser runs exactly the requests that the scanner saw, with its
// framing; it may stop early, but never see a request where the scanner saw none.
func FuzzAgree(f *testing.F) {
	for _, send := range seeds() {
		f.Add(send)
	}
	var mu sync.Mutex
	var ran []string
	s := serve(f, Options{HeaderTimeout: waitAtMost, IdleTimeout: waitAtMost, BodyTimeout: waitAtMost}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		mu.Lock()
		defer mu.Unlock()
		length := int64(ctx.Request.Header.ContentLength())
		if c.Head().ContentLength == -2 && length == 0 {
			length = -2 // the parser's way to say that a POST has none
		}
		ran = append(ran, fmt.Sprintf("%s %s %d", ctx.Method(), ctx.Request.Header.RequestURI(), length))
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 32<<10 {
			data = data[:32<<10]
		}
		want := scanAll(data)
		mu.Lock()
		ran = ran[:0]
		mu.Unlock()
		c := s.dial(t)
		_, _ = c.Write(data) // the handler tells
		_ = c.CloseWrite()   // as above
		_, _ = io.Copy(io.Discard, c.r)
		_ = c.SetLinger(0) // leaves no TIME_WAIT behind
		_ = c.Close()
		eventually(t, "the connection ends", func() bool { return s.Open() == 0 })
		mu.Lock()
		defer mu.Unlock()
		if len(ran) > len(want.starts) {
			t.Fatalf("the parser ran %q, the scanner saw %d requests", ran, len(want.starts))
		}
		for i, got := range ran {
			line, _, _ := bytes.Cut(bytes.TrimLeft(data[want.starts[i]:], "\r\n"), []byte("\r\n"))
			words := bytes.Split(line, []byte(" "))
			if w := fmt.Sprintf("%s %s %d", words[0], words[1], want.lengths[i]); got != w {
				t.Fatalf("request %d: the parser ran %q, the scanner saw %q", i, got, w)
			}
		}
	})
}
