package wire

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func scanResponse(raw string, step int) (ResponseHead, bool, error) {
	var s ResponseScanner
	s.Reset(testLimits)
	for n := min(step, len(raw)); ; n = min(n+step, len(raw)) {
		done, err := s.Scan([]byte(raw[:n]))
		if done || err != nil || n == len(raw) {
			return *s.Head(), done, err
		}
	}
}

func TestC2_AmbiguousResponsesAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw  string
		want *Violation
	}{
		{"HTTP/9.9 200 OK\r\n\r\n", errVersion},
		{"HTTP/2.0 200 OK\r\n\r\n", errVersion},
		{"http/1.1 200 OK\r\n\r\n", errVersion},
		{"garbage\r\n\r\n", errStatusLine},
		{"HTTP/1.1 2000 OK\r\n\r\n", errStatusLine},
		{"HTTP/1.1  200 OK\r\n\r\n", errStatusLine},
		{"HTTP/1.1 099 No\r\n\r\n", errStatus},
		{"HTTP/1.1 020 No\r\n\r\n", errStatus},
		{"HTTP/1.1 600 No\r\n\r\n", errStatus},
		{"HTTP/1.1 2x0 No\r\n\r\n", errStatus},
		{"HTTP/1.1 200 O\x00\r\n\r\n", errStatusLine},
		{"HTTP/1.1 200 OK\nX: y\r\n\r\n", errBareLF},
		{"\n", errBareLF},
		{"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", errFold},
		{"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", errNameSpace},
		{"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", errValue},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", errLengthTwice},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", errLengthAndCoding},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", errLengthAndCoding},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", errCoding},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", errCodingOld},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 21) + "\r\n", errHeadLines},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 5000) + "\r\n", errHeadLong},
		{strings.Repeat("y", 5000), errHeadLong},
	} {
		for _, step := range []int{1, 7, len(c.raw)} {
			if _, done, err := scanResponse(c.raw, step); done || !errors.Is(err, c.want) {
				t.Errorf("%.60q by %d: got %v, want %v", c.raw, step, err, c.want)
			}
		}
	}
}

func TestWellFormedResponsesPass(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw  string
		want ResponseHead
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", ResponseHead{Status: 200, Minor: 1, Names: NameContentLength, ContentLength: 2}},
		{"HTTP/1.1 204\r\n\r\n", ResponseHead{Status: 204, Minor: 1, ContentLength: -2}},
		{"HTTP/1.1 599 \r\nServer: x\r\nDate: y\r\nSet-Cookie: z\r\nX_Odd: 1\r\n\r\n", ResponseHead{Status: 599, Minor: 1, Names: NameServer | NameDate | NameSetCookie, ContentLength: -2}},
		{"HTTP/1.0 200 OK\r\n\r\n", ResponseHead{Status: 200, ContentLength: -2, Close: true}},
		{"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", ResponseHead{Status: 200, Names: NameConnection | NameConnectionKeepAlive, ContentLength: -2}},
		{"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n", ResponseHead{Status: 100, Minor: 1, Names: NameConnection | NameConnectionClose, ContentLength: -2, Close: true}},
		{"HTTP/1.1 200 \xe4\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n", ResponseHead{Status: 200, Minor: 1, Names: NameTransferEncoding | NameTrailer, ContentLength: -1}},
	} {
		c.want.Bytes = len(c.raw)
		for _, step := range []int{1, 7, 1000} {
			got, done, err := scanResponse(c.raw+"body", step)
			if !done || err != nil || got != c.want {
				t.Errorf("%q by %d: got %+v, %v, %v", c.raw, step, got, done, err)
			}
		}
	}
}

func TestChunkedReader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw, body, trailer, rest string
		err                      error
	}{
		{"3\r\nabc\r\n0\r\n\r\nNEXT", "abc", "", "NEXT", io.EOF},
		{"3;ext\r\nabc\r\n2\r\nde\r\n0;x\r\nX-Sum: 1\r\nY: 2\r\n\r\n", "abcde", "X-Sum: 1\r\nY: 2\r\n", "", io.EOF},
		{"0\r\n\r\n", "", "", "", io.EOF},
		{"3\r\nabc\r\n", "abc", "", "", io.ErrUnexpectedEOF},
		{"3\r\nabc\r\n0\r\n", "abc", "", "", io.ErrUnexpectedEOF},
		{"3\r\nab", "ab", "", "", io.ErrUnexpectedEOF},
		{"", "", "", "", io.ErrUnexpectedEOF},
		{"3\r\nabcX", "abc", "", "", errChunkEnd},
		{"zz\r\n", "", "", "", errChunkSize},
		{"0\r\nContent-Length: 3\r\n\r\n", "", "", "", errTrailer},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
		} {
			br := bufio.NewReader(wrap(strings.NewReader(c.raw)))
			var r ChunkedReader
			r.Reset(br, testLimits)
			body, err := io.ReadAll(&r)
			if err == nil {
				err = io.EOF
			}
			if string(body) != c.body || !errors.Is(err, c.err) {
				t.Errorf("%q %s: got %q, %v", c.raw, name, body, err)
			}
			if _, again := r.Read(make([]byte, 1)); !errors.Is(again, c.err) {
				t.Errorf("%q %s: a further read says %v", c.raw, name, again)
			}
			if c.err != io.EOF {
				continue
			}
			rest, _ := io.ReadAll(br)
			if string(r.Trailer()) != c.trailer || string(rest) != c.rest {
				t.Errorf("%q %s: trailer %q, rest %q", c.raw, name, r.Trailer(), rest)
			}
		}
	}
}

type timeoutError struct{}

func (timeoutError) Error() string { return "too slow" }
func (timeoutError) Timeout() bool { return true }

// hesitant times out once before each byte.
type hesitant struct {
	r    io.Reader
	late bool
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.late = !h.late; h.late {
		return 0, timeoutError{}
	}
	return h.r.Read(p[:1])
}

func TestChunkedReaderGoesOnAfterTimeouts(t *testing.T) {
	t.Parallel()
	var r ChunkedReader
	r.Reset(bufio.NewReader(&hesitant{r: strings.NewReader("3\r\nabc\r\n0\r\n\r\n")}), testLimits)
	var body []byte
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		var p [8]byte
		n, err := r.Read(p[:])
		body = append(body, p[:n]...)
		if errors.Is(err, io.EOF) {
			if string(body) != "abc" {
				t.Errorf("got %q", body)
			}
			return
		}
	}
	t.Fatal("never ended")
}
