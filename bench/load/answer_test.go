package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		text   string
		noBody bool
		body   string
		rest   string // what does not belong to it
		close  bool
		bad    string // part of the error
	}{
		"length":               {text: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", body: "abc"},
		"names in any case":    {text: "HTTP/1.1 200 OK\r\ncONTENT-lENGTH:3 \r\n\r\nabcd", body: "abc", rest: "d"},
		"no reason phrase":     {text: "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\nX", rest: "X"},
		"chunks":               {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA \r\n0123456789\r\n0\r\n\r\n", body: "abc0123456789"},
		"chunks and trailers":  {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\nZ: \r\n\r\nX", body: "a", rest: "X"},
		"no chunk":             {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		"interim":              {text: "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", body: "a"},
		"closing":              {text: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", body: "a", close: true},
		"1.0":                  {text: "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", body: "a", close: true},
		"HEAD":                 {text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", noBody: true},
		"no line":              {text: "ICY 200 OK\r\n\r\n", bad: "no status line"},
		"no number":            {text: "HTTP/1.1 abc OK\r\n\r\n", bad: "no status"},
		"odd number":           {text: "HTTP/1.1 999 OK\r\n\r\n", bad: "no status"},
		"no colon":             {text: "HTTP/1.1 200 OK\r\nfoo\r\n\r\n", bad: "no field"},
		"odd length":           {text: "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n", bad: "no length"},
		"negative length":      {text: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", bad: "no length"},
		"unknown coding":       {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", bad: "unknown transfer coding"},
		"odd chunk size":       {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", bad: "no chunk size"},
		"chunk too long":       {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", bad: "no end within 2 bytes"},
		"endless head":         {text: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", headLimit), bad: "no end within"},
		"endless chunk's line": {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", chunkLineLimit), bad: "no end within"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := answer{noBody: c.noBody}
			n, err := a.feed([]byte(c.text))
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Errorf("error %v, want %q", err, c.bad)
				}
				return
			}
			if err != nil || !a.done() || string(a.got) != c.body || c.text[n:] != c.rest || a.close != c.close {
				t.Errorf("body %q, rest %q, done %v, close %v (%v)", a.got, c.text[n:], a.done(), a.close, err)
			}
		})
	}
}

func TestAnswerUntilClose(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, want string
		ended      bool
	}{
		"whole":             {"HTTP/1.1 200 OK\r\n\r\nabc", "abc", true},
		"shorter":           {"HTTP/1.1 200 OK\r\n\r\nab", "abc", false},
		"length announced":  {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "abc", false},
		"in a chunk":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc", "abc", false},
		"no last chunk":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc", false},
		"no last empty row": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "abc", false},
		"in the head":       {"HTTP/1.1 200 OK\r\n", "", false},
		"nothing":           {"", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := answer{compare: true, status: 200, want: []byte(c.want)}
			if _, err := a.feed([]byte(c.text)); err != nil {
				t.Fatal(err)
			}
			if a.done() || a.closed() != c.ended {
				t.Errorf("ended: want %v", c.ended)
			}
		})
	}
}

func TestDifferentAnswersAreFound(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"other status":     "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nabc",
		"other body":       "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabd",
		"longer":           "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd",
		"shorter":          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
		"empty":            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"longer in chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
		"shorter chunks":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
	} {
		a := answer{compare: true, status: 200, want: []byte("abc")}
		if _, err := a.feed([]byte(text)); !errors.Is(err, errDifferent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// However an answer is cut into pieces, it is the same answer; and the reader
// can be used again.
func TestAnswersInPieces(t *testing.T) {
	t.Parallel()
	var a answer
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.StringMatching(`[a-z\r\n]{0,200}`).Draw(t, "body")
		text := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if rapid.Bool().Draw(t, "chunked") {
			text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			for left := body; left != ""; {
				n := rapid.IntRange(1, len(left)).Draw(t, "chunk")
				text += fmt.Sprintf("%x\r\n%s\r\n", n, left[:n])
				left = left[n:]
			}
			text += "0\r\n\r\n"
		}
		a.reset()
		a.compare, a.status, a.want = rapid.Bool().Draw(t, "compare"), 200, []byte(body)
		taken := 0
		for rest := text + "next"; !a.done(); {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			got, err := a.feed([]byte(rest[:n]))
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			taken += got
			rest = rest[got:]
		}
		if taken != len(text) || int(a.received) != len(text) || a.seen != len(body) || !a.compare && string(a.got) != body {
			t.Fatalf("%q: took %d, body %q", text, taken, a.got)
		}
	})
}

// Byte by byte or at once, the reader must say the same, and never take more
// than there is.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 204 No Content\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var whole, pieces answer
		n, err := whole.feed(text)
		if n > len(text) {
			t.Fatalf("took %d of %d bytes", n, len(text))
		}
		taken := 0
		var pieceErr error
		for taken < len(text) && pieceErr == nil && !pieces.done() {
			var got int
			got, pieceErr = pieces.feed(text[taken : taken+1])
			if got == 0 && pieceErr == nil {
				t.Fatalf("%q: stuck at %d", text, taken)
			}
			taken += got
		}
		if (err == nil) != (pieceErr == nil) {
			t.Fatalf("%q: at once %v, in pieces %v", text, err, pieceErr)
		}
		if err == nil && (whole.done() != pieces.done() || string(whole.got) != string(pieces.got) || n != taken) {
			t.Fatalf("%q: at once %q (%d), in pieces %q (%d)", text, whole.got, n, pieces.got, taken)
		}
	})
}
