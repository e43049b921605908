package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const patience = 5 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's own clock and cleaner live as long as the process.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

// process is the whole command, running inside the test.
type process struct {
	addresses []string // of its endpoints, in the order of the flags
	cancel    context.CancelFunc
	code      chan int
	errors    *strings.Builder // complete once code was received
}

// start runs the command with one endpoint on a free port per service.
func start(t *testing.T, services ...string) *process {
	t.Helper()
	var args []string
	for _, service := range services {
		args = append(args, "-listen", service+"=127.0.0.1:0")
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel: cancel, code: make(chan int, 1), errors: &strings.Builder{}}
	out, in := io.Pipe()
	go func() {
		p.code <- run(ctx, args, in, p.errors)
		_ = in.Close()
	}()
	t.Cleanup(func() { p.stop(t) })
	lines := bufio.NewScanner(out)
	for _, service := range services {
		if !lines.Scan() {
			t.Fatalf("the command ended before it listened: %s", p.errors)
		}
		address, ok := strings.CutPrefix(lines.Text(), service+" http://")
		if !ok {
			t.Fatalf("printed %q, want the address of %s", lines.Text(), service)
		}
		p.addresses = append(p.addresses, address)
	}
	return p
}

// stop is what SIGTERM does. It returns the exit code; later calls return -1.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	if p.code == nil {
		return -1
	}
	p.cancel()
	select {
	case code := <-p.code:
		p.code = nil
		return code
	case <-time.After(2 * stopGrace):
		t.Fatal("the command did not stop")
		return -1
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatalf("write request: %v", err)
	}
}

// answer is one response, read strictly: a short body is an error.
type answer struct {
	status int
	header http.Header
	close  bool // the answer said Connection: close
	body   string
	err    error // of reading the body
}

// ask sends the bytes of one request on a connection of their own.
func ask(t *testing.T, address, request string) answer {
	t.Helper()
	conn := dial(t, address)
	write(t, conn, request)
	method, _, _ := strings.Cut(request, " ")
	return read(t, bufio.NewReader(conn), method)
}

func read(t *testing.T, br *bufio.Reader, method string) answer {
	t.Helper()
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, resp.Close, string(body), err}
}

func get(target string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n"
}

// rest reads until the connection ends, and says how it ended.
func rest(conn net.Conn) (string, error) {
	b, err := io.ReadAll(conn)
	return string(b), err
}

func mustHave(t *testing.T, got answer, status int, body string) {
	t.Helper()
	if got.err != nil || got.status != status || got.body != body {
		t.Fatalf("got %d %q (%v), want %d %q", got.status, got.body, got.err, status, body)
	}
}

// line is one line of the pattern, computed the slow way.
func line(offset int) string { return fmt.Sprintf("%015x\n", offset) }
