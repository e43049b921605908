package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 5 * time.Second

// start runs the command on a free port, and stops it with the test.
func start(t *testing.T, args ...string) (address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, args, in) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the command ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("the command did not stop")
		}
	})
	return strings.TrimSpace(strings.TrimPrefix(line, "http://"))
}

func dial(t *testing.T, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, br *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	address := start(t)
	conn, br := dial(t, address) // all on one connection: each answer must end where it says
	cases := []struct {
		request string
		status  int
		length  int64 // announced; -1 chunked
		body    int   // bytes
	}{
		{"GET /small HTTP/1.1\r\nHost: h\r\n\r\n", 200, 128, 128},
		{"GET /64k HTTP/1.1\r\nHost: h\r\n\r\n", 200, 65536, 65536},
		{"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n", 200, 131072, 131072},
		{"GET /chunked HTTP/1.1\r\nHost: h\r\n\r\n", 200, -1, 131072},
		{"HEAD /64k HTTP/1.1\r\nHost: h\r\n\r\n", 200, 65536, 0},
		{"POST /small HTTP/1.1\r\nHost: h\r\ncontent-length: 3\r\n\r\nabc", 200, 128, 128},
		{"POST /small HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000), 200, 128, 128},
		{"GET /none HTTP/1.1\r\nHost: h\r\n\r\n", 404, 0, 0},
	}
	for _, c := range cases {
		name, _, _ := strings.Cut(c.request, " HTTP")
		send(t, conn, c.request)
		method, _, _ := strings.Cut(name, " ")
		resp, text := receive(t, br, method)
		if resp.StatusCode != c.status || resp.ContentLength != c.length || len(text) != c.body {
			t.Errorf("%s: %d, length %d, %d bytes", name, resp.StatusCode, resp.ContentLength, len(text))
		}
		if text != body(max(len(text), 16))[:len(text)] {
			t.Errorf("%s: the body is not the pattern", name)
		}
	}
}

func TestPipelining(t *testing.T) {
	t.Parallel()
	conn, br := dial(t, start(t))
	send(t, conn, strings.Repeat("POST /small HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", 3))
	for range 3 {
		if resp, text := receive(t, br, "POST"); resp.StatusCode != 200 || len(text) != 128 {
			t.Fatalf("%d, %d bytes", resp.StatusCode, len(text))
		}
	}
}

func TestConnectionsThatEnd(t *testing.T) {
	t.Parallel()
	address := start(t)
	for name, request := range map[string]string{
		"asked for":     "GET /small HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n",
		"HTTP/1.0":      "GET /small HTTP/1.0\r\n\r\n",
		"other version": "GET /small HTTP/2.0\r\n\r\n",
		"chunked body":  "POST /small HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"huge length":   "POST /small HTTP/1.1\r\nContent-Length: 9223372036854775807\r\n\r\n",
		"bad length":    "POST /small HTTP/1.1\r\nContent-Length: x\r\n\r\n",
		"no colon":      "GET /small HTTP/1.1\r\nHost\r\n\r\n",
		"no target":     "GET  HTTP/1.1\r\n\r\n",
		"endless head":  "GET /small HTTP/1.1\r\nX: " + strings.Repeat("x", bufferSize),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, br := dial(t, address)
			send(t, conn, request)
			// A reset will do: part of a refused request may not have been read.
			if _, err := io.Copy(io.Discard, br); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection stayed open")
			}
		})
	}
}

func TestStatsCountConnectionsAndRequests(t *testing.T) {
	t.Parallel()
	address := start(t)
	conn, br := dial(t, address)
	for range 5 {
		send(t, conn, "GET /small HTTP/1.1\r\nHost: h\r\n\r\n")
		receive(t, br, "GET")
	}
	gone, goneReader := dial(t, address)
	send(t, gone, "GET /64k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	receive(t, goneReader, "GET")
	want := stats{Accepts: 2, Open: 1, Requests: 6}
	var got stats
	for end := time.Now().Add(patience); time.Now().Before(end) && got != want; {
		send(t, conn, "GET /stats HTTP/1.1\r\nHost: h\r\n\r\n")
		_, text := receive(t, br, "GET")
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestWrongFlagsAndAddresses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if err := run(context.Background(), []string{"-listen", taken.Addr().String()}, io.Discard); err == nil {
		t.Error("a taken address was accepted")
	}
	if err := run(context.Background(), []string{"-help"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-help: %v", err)
	}
	closed, in := io.Pipe()
	_ = closed.Close()
	if err := run(context.Background(), nil, in); err == nil {
		t.Error("an unprintable address was accepted")
	}
}

// Whatever arrives, a head that is taken must lie within the bytes, and cutting
// it short must ask for more.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("GET /small HTTP/1.1\r\nHost: h\r\n\r\n"))
	f.Add([]byte("POST /small HTTP/1.0\r\nContent-Length: 7\r\nConnection: close\r\n\r\n1234567"))
	f.Add([]byte("GET / HTTP/1.1\r\n:\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := parseRequest(b)
		if err != nil {
			return
		}
		if n < 4 || n > len(b) || !bytes.HasSuffix(b[:n], []byte("\r\n\r\n")) || r.body < 0 || len(r.target) == 0 {
			t.Fatalf("%q: length %d, %+v", b, n, r)
		}
		if _, _, err := parseRequest(b[:n-1]); !errors.Is(err, errIncomplete) {
			t.Fatalf("%q without its last byte: %v", b[:n], err)
		}
		if !bytes.Contains(b[:n], fmt.Appendf(nil, " %s ", r.target)) {
			t.Fatalf("%q: target %q", b[:n], r.target)
		}
	})
}

// TestBroken: -status takes the place of the answers, for a share of the requests.
func TestBroken(t *testing.T) {
	t.Parallel()
	count := func(args ...string) (broken int) {
		conn, r := dial(t, start(t, args...))
		for range 200 {
			if _, err := io.WriteString(conn, "GET /small HTTP/1.1\r\nHost: o\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode == 503 {
				broken++
			}
		}
		return broken
	}
	if all, half, none := count("-status", "503"), count("-status", "503", "-share", "0.5"), count("-share", "0.5"); all != 200 || half < 50 || half > 150 || none != 0 {
		t.Errorf("of 200 answers %d, %d and %d are broken; want all, half and none", all, half, none)
	}
	for _, args := range [][]string{{"-status", "200"}, {"-status", "600"}, {"-share", "2"}, {"-share", "NaN"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
