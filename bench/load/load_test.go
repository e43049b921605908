package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const right = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"

// server is a raw HTTP server whose answers the test chooses.
type server struct {
	address string
	asked   atomic.Int64
	conns   sync.Map // net.Conn → struct{}
	serving sync.WaitGroup
}

// serve starts a server that answers request n (from 0, over all connections)
// by calling answer; it closes the connection when answer says so.
func serve(t *testing.T, answer func(n int64, conn net.Conn) (keep bool)) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{address: ln.Addr().String()}
	s.serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns.Store(conn, struct{}{})
			s.serving.Go(func() {
				defer func() { _ = conn.Close() }()
				br := bufio.NewReader(conn)
				for {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, req.Body); err != nil {
						return
					}
					if !answer(s.asked.Add(1)-1, conn) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		s.conns.Range(func(conn, _ any) bool { _ = conn.(net.Conn).Close(); return true })
		s.serving.Wait()
	})
	return s
}

func say(conn net.Conn, text string) bool {
	_, err := io.WriteString(conn, text)
	return err == nil
}

// load runs the command against s and returns its report.
func load(t *testing.T, s *server, flags ...string) (report, int) {
	t.Helper()
	var out, errOut strings.Builder
	args := append([]string{"-url", "http://" + s.address + "/x?y", "-rate", "500", "-duration", "200ms", "-warmup", "0s",
		"-connections", "8", "-timeout", "10s"}, flags...)
	code := run(context.Background(), args, &out, &errOut)
	var rep report
	if err := json.Unmarshal([]byte(out.String()), &rep); err != nil {
		t.Fatalf("%v in %q; %s", err, out.String(), errOut.String())
	}
	return rep, code
}

func TestCleanRun(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ int64, conn net.Conn) bool { return say(conn, right) })
	rep, code := load(t, s, "-threads", "3", "-warmup", "100ms")
	if (code == exitClean) != rep.Clean {
		t.Errorf("exit code %d, %+v", code, rep)
	}
	if rep.Sent != 150 || rep.Answered != 150 || rep.Failed != 0 || s.asked.Load() != 152 {
		t.Errorf("sent %d, answered %d, failed %v, asked %d; want all 150 and 2 for reference", rep.Sent, rep.Answered, rep.Failures, s.asked.Load())
	}
	if rep.PerSecond <= 0 || rep.PerSecond > 501 || rep.Latency.Max <= 0 || rep.Latency.P50 > rep.Latency.P99 {
		t.Errorf("%+v", rep)
	}
}

func TestEveryFailureIsCountedOnceAndNothingIsSentAgain(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		answer func(conn net.Conn) bool // of one request amid right ones
		kind   failure
	}{
		"short answer": {func(conn net.Conn) bool { say(conn, right[:len(right)-2]); return false }, failShort},
		"no answer":    {func(net.Conn) bool { return false }, failShort},
		"reset": {func(conn net.Conn) bool {
			say(conn, right[:20])
			_ = conn.(*net.TCPConn).SetLinger(0)
			return false
		}, failReset},
		"other status": {func(conn net.Conn) bool { return say(conn, strings.Replace(right, "200", "503", 1)) }, failDifferent},
		"other body":   {func(conn net.Conn) bool { return say(conn, strings.Replace(right, "right", "wrong", 1)) }, failDifferent},
		"no HTTP":      {func(conn net.Conn) bool { return say(conn, "220 smtp.example ESMTP\r\n\r\n") }, failMalformed},
		"two answers":  {func(conn net.Conn) bool { return say(conn, right+right) }, failMalformed},
		"silence":      {func(conn net.Conn) bool { return say(conn, "HTTP/1.1 200 OK\r\n") }, failTimeout},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(n int64, conn net.Conn) bool {
				if n == 50 {
					return c.answer(conn)
				}
				return say(conn, right)
			})
			var flags []string
			if c.kind == failTimeout {
				flags = []string{"-timeout", "2s"}
			}
			rep, code := load(t, s, flags...)
			if code != exitUnclean || rep.Clean {
				t.Errorf("exit code %d, clean %v", code, rep.Clean)
			}
			if want := map[string]int64{c.kind.String(): 1}; !cmp.Equal(rep.Failures, want) {
				t.Errorf("failures %v, want %v; %v", rep.Failures, want, rep.Examples)
			}
			if rep.Answered != 99 || s.asked.Load() != 102 {
				t.Errorf("answered %d of 100; the server was asked %d times, want 102", rep.Answered, s.asked.Load())
			}
		})
	}
}

func TestPeacefulCloses(t *testing.T) {
	t.Parallel()
	t.Run("announced", func(t *testing.T) {
		t.Parallel()
		s := serve(t, func(_ int64, conn net.Conn) bool {
			return say(conn, strings.Replace(right, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)) && false
		})
		rep, _ := load(t, s)
		if rep.Failed != 0 || rep.Answered != 100 || rep.Reconnects != 100 {
			t.Errorf("answered %d, reconnected %d, failures %v", rep.Answered, rep.Reconnects, rep.Examples)
		}
	})
	t.Run("body until close", func(t *testing.T) {
		t.Parallel()
		s := serve(t, func(_ int64, conn net.Conn) bool {
			return say(conn, "HTTP/1.1 200 OK\r\n\r\nright") && false
		})
		rep, _ := load(t, s)
		if rep.Failed != 0 || rep.Answered != 100 {
			t.Errorf("answered %d, failures %v", rep.Answered, rep.Examples)
		}
	})
	t.Run("while idle", func(t *testing.T) {
		t.Parallel()
		// Closed in silence long before the next request is due on it. On a
		// machine that stands still just then a request may meet the close.
		s := serve(t, func(_ int64, conn net.Conn) bool { return say(conn, right) && false })
		rep, _ := load(t, s, "-rate", "50", "-connections", "2")
		met := rep.Failures["short"] + rep.Failures["reset"]
		if rep.Failed != met || rep.Answered+met != 10 || rep.Reconnects == 0 {
			t.Errorf("answered %d, reconnected %d, failures %v", rep.Answered, rep.Reconnects, rep.Examples)
		}
	})
}

// A server that stalls once must show in the latency of every request that was
// due meanwhile, though only few were sent into the stall.
func TestNoCoordinatedOmission(t *testing.T) {
	t.Parallel()
	var stall sync.Mutex
	s := serve(t, func(n int64, conn net.Conn) bool {
		stall.Lock()
		if n == 100 {
			time.Sleep(400 * time.Millisecond) // the stall that is to be measured
		}
		stall.Unlock()
		return say(conn, right)
	})
	rep, _ := load(t, s, "-rate", "1000", "-duration", "800ms", "-connections", "4")
	if rep.Failed != 0 || rep.Answered != 800 {
		t.Fatalf("answered %d, failures %v", rep.Answered, rep.Examples)
	}
	// 400 of 800 requests were due in the stall and waited 0 to 400 ms; 4 were
	// sent into it.
	if rep.Latency.P90 < 250 || rep.Latency.Mean < 70 {
		t.Errorf("latency %+v hides the stall", rep.Latency)
	}
	if rep.Service.P90 > rep.Latency.P90/2 {
		t.Errorf("service time %+v, expected to miss the stall", rep.Service)
	}
}

func TestOverloadCountsTheUnsent(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := serve(t, func(n int64, conn net.Conn) bool {
		if n >= 2 { // all but the reference
			<-release
		}
		return say(conn, right)
	})
	t.Cleanup(func() { close(release) }) // before the server's own, which waits
	rep, code := load(t, s, "-connections", "2", "-timeout", "1s")
	if code != exitUnclean || rep.Answered != 0 || rep.Failures["unsent"] == 0 || rep.Failures["timeout"] == 0 {
		t.Errorf("exit code %d, answered %d, %v", code, rep.Answered, rep.Failures)
	}
	if rep.Failures["unsent"]+rep.Failures["timeout"] != 100 || rep.Sent+rep.Failures["unsent"] != 100 {
		t.Errorf("sent %d, %v: they don't make 100", rep.Sent, rep.Failures)
	}
	if rep.Latency.Max < 1000 {
		t.Errorf("latency %+v leaves the failures out", rep.Latency)
	}
}

func TestUploadsLargerThanTheSocketsBuffer(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ int64, conn net.Conn) bool { return say(conn, right) })
	name := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(name, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	rep, _ := load(t, s, "-method", "POST", "-body", "@"+name, "-rate", "20", "-connections", "2")
	if rep.Failed != 0 || rep.Answered != 4 {
		t.Errorf("answered %d, failures %v", rep.Answered, rep.Examples)
	}
}

func TestServerThatGoesAway(t *testing.T) {
	t.Parallel()
	var s *server
	var gone sync.Once
	ready := make(chan struct{})
	s = serve(t, func(n int64, conn net.Conn) bool {
		<-ready
		if n == 50 {
			gone.Do(func() { s.conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true }) })
			return false
		}
		return say(conn, right)
	})
	close(ready)
	rep, code := load(t, s)
	if code != exitUnclean || rep.Failed == 0 || rep.Failed-rep.Failures["connect"]+rep.Answered != 100 {
		t.Errorf("exit code %d, answered %d, %v", code, rep.Answered, rep.Failures)
	}
}

func TestRunsThatCannotBegin(t *testing.T) {
	t.Parallel()
	changing := serve(t, func(n int64, conn net.Conn) bool {
		return say(conn, strings.Replace(right, "right", []string{"right", "wrong"}[n%2], 1))
	})
	failing := serve(t, func(_ int64, conn net.Conn) bool { return say(conn, strings.Replace(right, "200", "500", 1)) })
	broken := serve(t, func(_ int64, conn net.Conn) bool { say(conn, right[:30]); return false })
	odd := serve(t, func(_ int64, conn net.Conn) bool { return say(conn, "what?\r\n\r\n") })
	dead := serve(t, func(int64, net.Conn) bool { return false })
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"answers that change": {[]string{"-url", "http://" + changing.address}, exitUnclean, "two answers differ"},
		"unexpected status":   {[]string{"-url", "http://" + failing.address}, exitUnclean, "status 500, want 200"},
		"broken answer":       {[]string{"-url", "http://" + broken.address}, exitUnclean, "after 30 bytes"},
		"no HTTP":             {[]string{"-url", "http://" + odd.address}, exitUnclean, "no status line"},
		"nothing":             {[]string{"-url", "http://" + dead.address}, exitUnclean, "after 0 bytes"},
		"nobody there":        {[]string{"-url", "http://127.0.0.1:1"}, exitUnclean, "refused"},
		"nobody to be found":  {[]string{"-url", "http://a.invalid."}, exitUnclean, "resolve"},
		"no URL":              {nil, exitUsage, "only http://"},
		"https":               {[]string{"-url", "https://h/"}, exitUsage, "only http://"},
		"no host":             {[]string{"-url", "http:///x"}, exitUsage, "no host"},
		"bad URL":             {[]string{"-url", "http://[/"}, exitUsage, "missing ']'"},
		"bad rate":            {[]string{"-url", "http://h/", "-rate", "0"}, exitUsage, "rate 0"},
		"bad header":          {[]string{"-url", "http://h/", "-header", "x"}, exitUsage, "NAME: VALUE"},
		"own header":          {[]string{"-url", "http://h/", "-header", "Host: x"}, exitUsage, "generator's own"},
		"no method":           {[]string{"-url", "http://h/", "-method", "A B"}, exitUsage, "want one word"},
		"no body":             {[]string{"-url", "http://h/", "-body", "@/does/not/exist"}, exitUsage, "read the body"},
		"argument":            {[]string{"-url", "http://h/", "x"}, exitUsage, "unexpected argument"},
		"help":                {[]string{"-help"}, exitClean, "jq .highest_clean_rate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errOut strings.Builder
			code := run(context.Background(), append([]string{"-timeout", "2s"}, c.args...), &out, &errOut)
			if code != c.code || !strings.Contains(errOut.String(), c.want) {
				t.Errorf("exit code %d, %q; want %d, %q", code, errOut.String(), c.code, c.want)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ int64, conn net.Conn) bool { return say(conn, right) })
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	var out, errOut strings.Builder
	code := run(ctx, []string{"-url", "http://" + s.address, "-duration", "1h", "-rate", "10"}, &out, &errOut)
	if code != exitUnclean || !strings.Contains(errOut.String(), context.Canceled.Error()) {
		t.Errorf("exit code %d, %q", code, errOut.String())
	}
}

func TestFindAgainstAServer(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ int64, conn net.Conn) bool {
		time.Sleep(10 * time.Millisecond) // with one connection: at most 100 a second
		return say(conn, right)
	})
	var out, errOut strings.Builder
	code := run(context.Background(), []string{"-url", "http://" + s.address, "-find", "-rate", "60", "-duration", "150ms",
		"-warmup", "0s", "-connections", "1", "-timeout", "500ms"}, &out, &errOut)
	var f found
	if err := json.Unmarshal([]byte(out.String()), &f); err != nil {
		t.Fatalf("%v: %s", err, errOut.String())
	}
	// The last requests before the end may queue for 150 ms, hence more than 100.
	// How many fewer depends on the machine; if none is clean, the code says so.
	if f.Rate > 200 || (code == exitClean) != (f.Rate > 0) || len(f.Trials) < 2 {
		t.Errorf("exit code %d, found %f\n%s", code, f.Rate, errOut.String())
	}
}

func TestRequestBytes(t *testing.T) {
	t.Parallel()
	d, err := parseURL("http://api.example:8080/a%2fb?c=d#e")
	if err != nil {
		t.Fatal(err)
	}
	if want := (destination{"api.example:8080", "api.example:8080", "/a%2fb?c=d"}); d != want {
		t.Errorf("got %+v, want %+v", d, want)
	}
	if d, err := parseURL("http://[::1]"); err != nil || d.address != "[::1]:80" || d.target != "/" {
		t.Errorf("got %+v, %v", d, err)
	}
	var lines fields
	if err := errors.Join(lines.Set("X-A: b"), lines.Set("X-C:d")); err != nil || lines.String() != "X-A: b, X-C: d" {
		t.Errorf("got %s, %v", lines.String(), err)
	}
	for method, want := range map[string]string{
		"GET":  "GET /a%2fb?c=d HTTP/1.1\r\nHost: api.example:8080\r\nX-A: b\r\nX-C: d\r\n\r\n",
		"POST": "POST /a%2fb?c=d HTTP/1.1\r\nHost: api.example:8080\r\nX-A: b\r\nX-C: d\r\nContent-Length: 0\r\n\r\n",
	} {
		if got := string(buildRequest(method, d, lines, nil)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := string(buildRequest("DELETE", d, nil, []byte("xyz"))); !strings.HasSuffix(got, "\r\nContent-Length: 3\r\n\r\nxyz") {
		t.Errorf("got %q", got)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:80", "[::1]:80", ":80", "localhost:80"} {
		if sockaddr, err := resolve(address); err != nil || sockaddr == nil {
			t.Errorf("%s: %v, %v", address, sockaddr, err)
		}
	}
}
