package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestEchoIsExact(t *testing.T) {
	t.Parallel()
	p := start(t, "identity")
	cases := map[string]string{
		"field order, case and spaces": "GET /echo?b=2&a=%2f HTTP/1.1\r\nhOsT: h\r\nX-B:  two \r\nX_A: one\r\nx-b:\tthree\r\n\r\n",
		"below the service's name":     "GET /identity/echo HTTP/1.1\r\nHost: h\r\n\r\n",
		"unknown method":               "BREW /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"no fields":                    "GET /echo HTTP/1.0\r\n\r\n",
		"body with a head inside":      "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"several lines of one name":    "GET /echo HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\nCookie: b=2\r\nAuthorization: x\r\nAuthorization: y\r\n\r\n",
	}
	for name, request := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mustHave(t, ask(t, p.addresses[0], request), 200, request)
		})
	}
}

func TestEchoDecodesChunksAndShowsTrailers(t *testing.T) {
	t.Parallel()
	p := start(t, "vod")
	head := "POST /vod/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	got := ask(t, p.addresses[0], head+"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Checksum: 7\r\n\r\n")
	mustHave(t, got, 200, head+"abcde")
	if want := []string{"X-Checksum: 7"}; !cmp.Equal(got.header["X-Trailer"], want) {
		t.Errorf("X-Trailer %q, want %q", got.header["X-Trailer"], want)
	}
}

func TestEchoKeepsPipelinedRequestsApart(t *testing.T) {
	t.Parallel()
	p := start(t, "commerce")
	first := "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\none"
	second := "GET /echo HTTP/1.1\r\nHost: i\r\n\r\n"
	conn := dial(t, p.addresses[0])
	write(t, conn, first+second)
	br := bufio.NewReader(conn)
	mustHave(t, read(t, br, "POST"), 200, first)
	mustHave(t, read(t, br, "GET"), 200, second)
}

func TestEchoRefuses(t *testing.T) {
	t.Parallel()
	p := start(t, "identity")
	t.Run("truncated body", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, p.addresses[0])
		write(t, conn, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n"+strings.Repeat("x", 9000))
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, bufio.NewReader(conn), "POST"); got.status != 400 || !strings.Contains(got.body, "9000 of 20000") {
			t.Errorf("got %d %q", got.status, got.body)
		}
	})
	t.Run("broken chunks", func(t *testing.T) {
		t.Parallel()
		got := ask(t, p.addresses[0], "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
		if got.status != 400 {
			t.Errorf("got %d %q", got.status, got.body)
		}
	})
	t.Run("too large", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, p.addresses[0])
		write(t, conn, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n")
		go func() { _, _ = io.CopyN(conn, zeros{}, echoLimit+1) }() // ends with the connection
		if got := read(t, bufio.NewReader(conn), "POST"); got.status != 400 || !strings.Contains(got.body, "over") {
			t.Errorf("got %d %q", got.status, got.body)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBytes(t *testing.T) {
	t.Parallel()
	p := start(t, "vod")
	cases := map[string]struct {
		target string
		body   string
		length string // Content-Length; empty when chunked
	}{
		"two lines and a half":   {"/bytes/40", line(0) + line(16) + line(32)[:8], "40"},
		"none":                   {"/bytes/0", "", "0"},
		"prefixed":               {"/vod/bytes/1", "0", "1"},
		"chunked":                {"/bytes/17?chunked=1", line(0) + "0", ""},
		"chunked and empty":      {"/bytes/0?chunked=1", "", ""},
		"other query is no flag": {"/bytes/1?chunky=1", "0", "1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ask(t, p.addresses[0], get(c.target))
			mustHave(t, got, 200, c.body)
			if got.header.Get("Content-Length") != c.length {
				t.Errorf("Content-Length %q, want %q", got.header.Get("Content-Length"), c.length)
			}
		})
	}
	t.Run("a megabyte", func(t *testing.T) {
		t.Parallel()
		got := ask(t, p.addresses[0], get("/bytes/1048576?chunked=1"))
		if got.err != nil || len(got.body) != 1<<20 || !strings.HasSuffix(got.body, line(1<<20-16)) {
			t.Errorf("%d bytes, end %q (%v)", len(got.body), got.body[max(0, len(got.body)-16):], got.err)
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		t.Parallel()
		got := ask(t, p.addresses[0], "HEAD /bytes/7 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		mustHave(t, got, 200, "")
		if got.header.Get("Content-Length") != "7" {
			t.Errorf("Content-Length %q", got.header.Get("Content-Length"))
		}
	})
}

// The pattern must not depend on how it is read.
func TestPatternByPieces(t *testing.T) {
	t.Parallel()
	var whole bytes.Buffer
	for offset := 0; offset < 4096; offset += lineLength {
		whole.WriteString(line(offset))
	}
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 4096).Draw(t, "start")
		end := rapid.Int64Range(start, 4096).Draw(t, "end")
		r := &pattern{at: start, end: end}
		var got []byte
		for {
			piece := make([]byte, rapid.IntRange(1, 100).Draw(t, "piece"))
			n, err := r.Read(piece)
			got = append(got, piece[:n]...)
			if err == io.EOF {
				break
			}
		}
		if want := whole.Bytes()[start:end]; !bytes.Equal(got, want) {
			t.Fatalf("bytes %d to %d: %q, want %q", start, end, got, want)
		}
	})
}

func TestAnyPathIsDescribed(t *testing.T) {
	t.Parallel()
	p := start(t, "payments")
	endpoint := p.addresses[0]
	cases := map[string]struct {
		request string
		status  int
		want    description
	}{
		"plain":       {get("/payments/v1/charges?id=%20"), 200, description{"payments", endpoint, "GET", "/payments/v1/charges?id=%20", 0}},
		"root":        {get("/"), 200, description{"payments", endpoint, "GET", "/", 0}},
		"body":        {"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", 200, description{"payments", endpoint, "PUT", "/a", 5}},
		"chunks":      {"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 200, description{"payments", endpoint, "PUT", "/a", 1}},
		"options":     {"OPTIONS /echo/x HTTP/1.1\r\nHost: h\r\n\r\n", 200, description{"payments", endpoint, "OPTIONS", "/echo/x", 0}},
		"status":      {get("/status/418"), 418, description{"payments", endpoint, "GET", "/status/418", 0}},
		"slow":        {get("/payments/slow?ms=1"), 200, description{"payments", endpoint, "GET", "/payments/slow?ms=1", 0}},
		"other's own": {get("/identity/echo"), 200, description{"payments", endpoint, "GET", "/identity/echo", 0}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ask(t, endpoint, c.request)
			var d description
			if err := json.Unmarshal([]byte(got.body), &d); err != nil {
				t.Fatalf("%q: %v", got.body, err)
			}
			if got.status != c.status || d != c.want {
				t.Errorf("got %d %+v, want %d %+v", got.status, d, c.status, c.want)
			}
			if got.header.Get("X-Service") != "payments" || got.header.Get("X-Endpoint") != endpoint {
				t.Errorf("signed %q, %q", got.header.Get("X-Service"), got.header.Get("X-Endpoint"))
			}
		})
	}
}

func TestWrongParametersAreRefused(t *testing.T) {
	t.Parallel()
	p := start(t, "content")
	for _, target := range []string{
		"/bytes/x", "/bytes/-1", "/status/101", "/status/600", "/status/x", "/slow?ms=x", "/slow?ms=-2",
		"/sse?n=x", "/sse?ms=x", "/drop?after=x",
	} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			if got := ask(t, p.addresses[0], get(target)); got.status != 400 || !strings.Contains(got.body, `"error"`) {
				t.Errorf("got %d %q", got.status, got.body)
			}
		})
	}
}

func TestTruncatedBodyIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	p := start(t, "content")
	for _, target := range []string{"/any", "/bytes/1", "/drop", "/status/200"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, p.addresses[0])
			write(t, conn, "POST "+target+" HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
			if got := read(t, bufio.NewReader(conn), "POST"); got.status != 400 {
				t.Errorf("got %d %q", got.status, got.body)
			}
		})
	}
}

func TestBodilessStatuses(t *testing.T) {
	t.Parallel()
	p := start(t, "content")
	for _, target := range []string{"/status/204", "/status/304"} {
		conn := dial(t, p.addresses[0])
		write(t, conn, get(target)+get("/status/200"))
		br := bufio.NewReader(conn)
		if got := read(t, br, "GET"); got.body != "" {
			t.Errorf("%s has the body %q", target, got.body)
		}
		if got := read(t, br, "GET"); got.status != 200 {
			t.Errorf("after %s: %d", target, got.status)
		}
	}
}

func TestHealthIsSwitched(t *testing.T) {
	t.Parallel()
	p := start(t, "identity", "identity")
	post := func(up string) answer {
		return ask(t, p.addresses[0], "POST /identity/health?up="+up+" HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
	}
	expect := func(endpoint, status int, word string) {
		t.Helper()
		got := ask(t, p.addresses[endpoint], get("/health"))
		if got.status != status || !strings.Contains(got.body, `"status":"`+word+`"`) {
			t.Fatalf("health of endpoint %d: %d %q, want %d %s", endpoint, got.status, got.body, status, word)
		}
	}
	expect(0, 200, "ok")
	if got := post("false"); got.status != 200 {
		t.Fatalf("switched off: %d", got.status)
	}
	expect(0, 503, "down")
	expect(1, 200, "ok") // the other endpoint of the service is not concerned
	if got := post("maybe"); got.status != 400 {
		t.Fatalf("up=maybe: %d", got.status)
	}
	expect(0, 503, "down")
	post("true")
	expect(0, 200, "ok")
}

func TestEventsComeOneByOne(t *testing.T) {
	t.Parallel()
	p := start(t, "live-classes")
	got := ask(t, p.addresses[0], get("/live-classes/sse?n=3&ms=1"))
	want := "id: 1\nevent: tick\ndata: {\"service\":\"live-classes\",\"n\":1}\n\n" +
		"id: 2\nevent: tick\ndata: {\"service\":\"live-classes\",\"n\":2}\n\n" +
		"id: 3\nevent: tick\ndata: {\"service\":\"live-classes\",\"n\":3}\n\n"
	mustHave(t, got, 200, want)
	if got.header.Get("Content-Type") != "text/event-stream" || got.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("header %v", got.header)
	}

	// The first event leaves though the next is an hour away.
	conn := dial(t, p.addresses[0])
	write(t, conn, get("/sse?n=0&ms=3600000"))
	br := bufio.NewReader(conn)
	for {
		text, err := br.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(text, "data:") {
			break
		}
	}
	// A stop ends the stream cleanly.
	p.cancel()
	if tail, err := io.ReadAll(br); err != nil || !strings.HasSuffix(string(tail), "\r\n0\r\n\r\n") {
		t.Errorf("the stream ended in %q (%v), want the last chunk", tail, err)
	}
}

func TestWebSocketEchoes(t *testing.T) {
	t.Parallel()
	p := start(t, "live-classes")
	dialer := websocket.Dialer{Subprotocols: []string{"other", "echo"}, HandshakeTimeout: patience}
	conn, resp, err := dialer.Dial("ws://"+p.addresses[0]+"/live-classes/ws", map[string][]string{"Origin": {"https://elsewhere.example"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if resp.StatusCode != 101 || conn.Subprotocol() != "echo" {
		t.Errorf("status %d, subprotocol %q", resp.StatusCode, conn.Subprotocol())
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	for kind, message := range map[int]string{websocket.TextMessage: "grüße", websocket.BinaryMessage: "\x00\xff" + strings.Repeat("x", 70000)} {
		if err := conn.WriteMessage(kind, []byte(message)); err != nil {
			t.Fatal(err)
		}
		gotKind, got, err := conn.ReadMessage()
		if err != nil || gotKind != kind || string(got) != message {
			t.Errorf("got kind %d, %d bytes (%v); want %d, %d bytes", gotKind, len(got), err, kind, len(message))
		}
	}
	// A stop says goodbye.
	if code := p.stop(t); code != exitClean {
		t.Errorf("exit code %d: %s", code, p.errors)
	}
	_, _, err = conn.ReadMessage()
	if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("after the stop: %v, want close 1001", err)
	}
}

func TestWebSocketRefusesPlainRequests(t *testing.T) {
	t.Parallel()
	p := start(t, "vod")
	if got := ask(t, p.addresses[0], get("/ws")); got.status != 400 {
		t.Errorf("got %d", got.status)
	}
}

func TestDropDiesMidBody(t *testing.T) {
	t.Parallel()
	p := start(t, "content")
	cases := map[string]struct {
		query string
		body  string // raw, as on the wire
		reset bool
	}{
		"length announced": {"?after=20", line(0) + "0000", false},
		"nothing of it":    {"?after=0", "", false},
		"no last chunk":    {"?after=16&chunked=1", "10\r\n" + line(0) + "\r\n", false},
		"reset":            {"?after=16&rst=1", line(0), true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, p.addresses[0])
			write(t, conn, get("/content/drop"+c.query))
			text, err := rest(conn)
			head, body, found := strings.Cut(text, "\r\n\r\n")
			if !found || !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") {
				t.Fatalf("head %q", head)
			}
			if chunked := strings.Contains(c.query, "chunked"); chunked != strings.Contains(head, "Transfer-Encoding: chunked") ||
				chunked == strings.Contains(head, "Content-Length: 100000") {
				t.Errorf("framing in %q", head)
			}
			if body != c.body {
				t.Errorf("body %q, want %q", body, c.body)
			}
			if reset := errors.Is(err, syscall.ECONNRESET); reset != c.reset || err != nil && !reset {
				t.Errorf("ended by %v, want a reset: %v", err, c.reset)
			}
		})
	}
	t.Run("default, as a client sees it", func(t *testing.T) {
		t.Parallel()
		if got := ask(t, p.addresses[0], get("/drop")); !errors.Is(got.err, io.ErrUnexpectedEOF) || len(got.body) != 1000 {
			t.Errorf("%d bytes, %v", len(got.body), got.err)
		}
	})
	t.Run("before the head", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, p.addresses[0])
		write(t, conn, get("/drop?after=-1"))
		if text, err := rest(conn); text != "" || err != nil {
			t.Errorf("got %q, %v; want nothing and a close", text, err)
		}
	})
	t.Run("more than announced", func(t *testing.T) {
		t.Parallel()
		if got := ask(t, p.addresses[0], get("/drop?after=200000")); !errors.Is(got.err, io.ErrUnexpectedEOF) || len(got.body) != dropLength-1 {
			t.Errorf("%d bytes, %v", len(got.body), got.err)
		}
	})
}

func TestEarlyAnswersWithoutTheBody(t *testing.T) {
	t.Parallel()
	p := start(t, "vod")
	for name, request := range map[string]string{
		"length, not one byte sent": "POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n",
		"chunks, none sent":         "POST /vod/early?x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
		"Expect: 100-continue":      "POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
		"no body":                   get("/early"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, p.addresses[0])
			write(t, conn, request)
			br := bufio.NewReader(conn)
			got := read(t, br, "POST")
			if got.status != 413 || !got.close || got.header.Get("X-Service") != "vod" {
				t.Errorf("got %d, close %v, %v", got.status, got.close, got.header)
			}
			if more, err := io.ReadAll(br); len(more) > 0 || err != nil {
				t.Errorf("after the answer: %q, %v; want a close", more, err)
			}
		})
	}
	t.Run("others continue", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, p.addresses[0])
		write(t, conn, "POST /earlybird HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
		br := bufio.NewReader(conn)
		interim, err := br.ReadString('\n')
		if err != nil || interim != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("got %q, %v", interim, err)
		}
		if _, err := br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		write(t, conn, "ok")
		if got := read(t, br, "POST"); got.status != 200 || !strings.Contains(got.body, `"received":2`) {
			t.Errorf("got %d %q", got.status, got.body)
		}
	})
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	p := start(t, "identity", "vod")
	waiting := dial(t, p.addresses[0])
	write(t, waiting, get("/slow?ms=3600000"))
	idle := dial(t, p.addresses[1])
	write(t, idle, get("/"))
	read(t, bufio.NewReader(idle), "GET")
	if code := p.stop(t); code != exitClean {
		t.Errorf("exit code %d: %s", code, p.errors)
	}
	if got := read(t, bufio.NewReader(waiting), "GET"); got.status != 503 {
		t.Errorf("the slow answer was cut short with %d", got.status)
	}
	if _, err := net.Dial("tcp", p.addresses[0]); err == nil {
		t.Error("a stopped endpoint still accepts")
	}
}
