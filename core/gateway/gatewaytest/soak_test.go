//go:build !race

package gatewaytest_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// soakTime is how long TestSoak runs; SOAK=10m in the environment is the long one.
const soakTime = 20 * time.Second

const soakYAML = `
listen:
  public: {address: "127.0.0.1:0"}
  secure: {address: "127.0.0.1:0", tls: {certificates: [{certificate_file: %q, key_file: %q}]}}
services:
  a: {endpoints: [{url: %q}], retry: off, connections: {idle_timeout: 200ms}}
  gone: {endpoints: [{url: "http://127.0.0.1:1"}]}
defaults: {plugins: {cors: {origins: [https://app.example]}, security_headers: {}}}
routes:
  a: {match: {path: "/{rest...}", methods: [GET, POST]}, service: a, limits: {body: 1MiB}}
  ws: {match: {path: /ws}, service: a, plugins: {websocket: {}}}
  gone: {match: {path: /gone}, service: gone}
  own: {match: {path: /own%d}, respond: {status: 200, body: own}}
`

// soaked is a gateway with all that is done to it at once.
type soaked struct {
	*gatewaytest.Gateway
	t      *testing.T
	secure *tls.Config
	yaml   func(int) string
	reload atomic.Int64
	done   sync.Map // by kind: *atomic.Int64, how often
}

// soakOrigin answers quickly, slowly, endlessly, brokenly, and echoes.
func soakOrigin(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			body, err := io.ReadAll(r.Body)
			if err == nil { // else the client has left
				_, _ = w.Write(body)
			}
		case "/events":
			for i := range 5 {
				_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
				_ = http.NewResponseController(w).Flush()
			}
		case "/endless":
			for line := strings.Repeat("x", 1<<10); r.Context().Err() == nil; time.Sleep(time.Millisecond) {
				_, _ = io.WriteString(w, line)
				_ = http.NewResponseController(w).Flush()
			}
		case "/never":
			<-r.Context().Done()
		case "/breaks":
			w.Header().Set("Content-Length", "1000000")
			_, _ = io.WriteString(w, strings.Repeat("x", 100<<10))
			panic(http.ErrAbortHandler)
		case "/ws":
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, gatewaytest.Switching)
			_, _ = io.Copy(conn, rw) // what is echoed is masked, which nobody minds here
		default:
			_, _ = io.WriteString(w, "ok")
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func newSoaked(t *testing.T) *soaked {
	ca := certificatetest.NewAuthority(t)
	certificate, key := ca.Issue(t, "h").Write(t, t.TempDir(), "h")
	url := soakOrigin(t)
	s := &soaked{t: t, secure: &tls.Config{RootCAs: ca.Pool, ServerName: "h", ClientSessionCache: tls.NewLRUClientSessionCache(4)}}
	s.yaml = func(n int) string { return fmt.Sprintf(soakYAML, certificate, key, url, n) }
	s.Gateway = gatewaytest.RunOptions(t, s.yaml(0), gatewaytest.Options{Log: io.Discard})
	return s
}

// link is one connection of a client.
type link struct {
	net.Conn
	r *bufio.Reader
}

func (s *soaked) dial() (*link, error) {
	conn, err := net.Dial("tcp", s.Address())
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return &link{conn, bufio.NewReader(conn)}, nil
}

// ask sends raw and wants an answer of that status, whole.
func (l *link) ask(raw string, status int, body string) error {
	if _, err := io.WriteString(l, raw); err != nil {
		return err
	}
	resp, err := http.ReadResponse(l.r, nil)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != status || body != "" && string(got) != body) {
		err = fmt.Errorf("%q: got %d %.80q, want %d", strings.SplitN(raw, "\r", 2)[0], resp.StatusCode, got, status)
	}
	return err
}

// alone has f work on a connection of its own.
func (s *soaked) alone(f func(*link) error) error {
	l, err := s.dial()
	if err != nil {
		return err
	}
	return errors.Join(f(l), l.Close())
}

func soakGet(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n" }

// Each kind of work is done by two workers, again and again.
func (s *soaked) kinds() map[string]func() error {
	upload := strings.Repeat("u", 200<<10)
	large := "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(upload), upload)
	return map[string]func() error{
		"kept alive": func() error {
			return s.alone(func(l *link) error {
				for range 20 {
					if err := l.ask(soakGet("/x"), 200, "ok"); err != nil {
						return err
					}
				}
				return l.ask("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", 200, "hello")
			})
		},
		"upload": func() error { return s.alone(func(l *link) error { return l.ask(large, 200, upload) }) },
		"stream": func() error { return s.alone(func(l *link) error { return l.ask(soakGet("/events"), 200, "") }) },
		"TLS": func() error {
			conn, err := tls.Dial("tcp", s.Gateway.Gateway.Address("secure").String(), s.secure)
			if err != nil {
				return err
			}
			return errors.Join((&link{conn, bufio.NewReader(conn)}).ask(soakGet("/x"), 200, "ok"), conn.Close())
		},
		"TLS garbage": func() error {
			conn, err := net.Dial("tcp", s.Gateway.Gateway.Address("secure").String())
			if err != nil {
				return err
			}
			_, _ = io.WriteString(conn, "\x16\x03\x01\x00\x05hello")
			_, _ = io.Copy(io.Discard, conn)
			return conn.Close()
		},
		"left amid a stream": func() error {
			return s.alone(func(l *link) error {
				_, _ = io.WriteString(l, soakGet("/endless"))
				_, err := l.r.Peek(1000)
				_ = l.Conn.(*net.TCPConn).SetLinger(0)
				return err
			})
		},
		"left while waiting": func() error {
			return s.alone(func(l *link) error {
				_, err := io.WriteString(l, soakGet("/never"))
				time.Sleep(20 * time.Millisecond)
				return err
			})
		},
		"left amid an upload": func() error {
			return s.alone(func(l *link) error {
				_, err := io.WriteString(l, large[:100<<10])
				return err
			})
		},
		"refused": func() error {
			for raw, status := range map[string]int{
				soakGet("/%zz"): 400, "DELETE /x HTTP/1.1\r\nHost: h\r\n\r\n": 405, soakGet("/gone"): 502,
				"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n" + upload[:16<<10]:                          413,
				"OPTIONS /x HTTP/1.1\r\nHost: h\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\n\r\n": 403,
			} {
				if err := s.alone(func(l *link) error { return l.ask(raw, status, "") }); err != nil {
					return err
				}
			}
			return nil
		},
		"broken off": func() error {
			return s.alone(func(l *link) error {
				if err := l.ask(soakGet("/breaks"), 200, ""); err == nil {
					return errors.New("a body that broke off looks whole")
				}
				return nil
			})
		},
		"WebSocket": func() error { return s.alone(echoed) },
		"reload": func() error {
			time.Sleep(50 * time.Millisecond)
			s.Reconfigure(s.yaml(int(s.reload.Add(1) % 2)))
			return nil
		},
	}
}

// echoed opens a WebSocket, has a message echoed, and drops it.
func echoed(l *link) error {
	if _, err := io.WriteString(l, gatewaytest.Handshake("/ws", "")); err != nil {
		return err
	}
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = l.r.ReadString('\n'); err != nil {
			return err
		}
	}
	message := gatewaytest.Frame{Opcode: gatewaytest.Text, Final: true, Payload: "hello"}.Bytes(true)
	got := make([]byte, len(message))
	_, _ = io.WriteString(l, message)
	if _, err := io.ReadFull(l.r, got); err != nil || string(got) != message {
		return fmt.Errorf("the echo is %q and %w", got, err)
	}
	return nil
}

// work has all kinds done for d.
func (s *soaked) work(d time.Duration) {
	end := time.Now().Add(d)
	var group sync.WaitGroup
	for name, do := range s.kinds() {
		count, _ := s.done.LoadOrStore(name, new(atomic.Int64))
		workers := 2
		if name == "reload" {
			workers = 1
		}
		for range workers {
			group.Go(func() {
				for ; time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
					if err := do(); err != nil {
						s.t.Errorf("%s: %v", name, err)
						return
					}
					count.(*atomic.Int64).Add(1)
				}
			})
		}
	}
	group.Wait()
}

// holding is what a process holds when nothing is under way.
type holding struct {
	heap                    int64
	goroutines, descriptors int
}

// metrics is the text of /metrics, by a connection that ends.
func (s *soaked) metrics() string {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.Admin())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	text, err := io.ReadAll(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// quiet waits until nothing is under way, and looks.
func (s *soaked) quiet() holding {
	s.t.Helper()
	gatewaytest.Eventually(s.t, "nothing is under way", func() bool {
		m := s.metrics()
		for _, none := range []string{"\ngateway_in_flight 0\n", `gateway_upstream_connections{state="busy"} 0`, `gateway_upstream_connections{state="idle"} 0`,
			`gateway_connections{listener="public"} 0`, `gateway_connections{listener="secure"} 0`} {
			if !strings.Contains(m, none) {
				return false
			}
		}
		return s.Tunnels().Len() == 0
	})
	// What ends by itself a moment later, such as goroutines of the origin, has no metric.
	h := holding{goroutines: runtime.NumGoroutine(), descriptors: descriptors(s.t)}
	for calm := 0; calm < 10; time.Sleep(20 * time.Millisecond) {
		if now := (holding{goroutines: runtime.NumGoroutine(), descriptors: descriptors(s.t)}); now != h {
			h, calm = now, 0
		} else {
			calm++
		}
	}
	h.heap = int64(liveHeap())
	return h
}

// grown says what is not flat. A hundredth of what is done must not leave a goroutine or a
// descriptor, and nothing that is done 64 bytes.
func (h holding) grown(since holding, done int64) (problems []string) {
	slack := int(done / 100)
	if n := h.goroutines - since.goroutines; n > min(slack, 10) {
		problems = append(problems, fmt.Sprintf("%d goroutines more", n))
	}
	if n := h.descriptors - since.descriptors; n > min(slack, 10) {
		problems = append(problems, fmt.Sprintf("%d descriptors more", n))
	}
	if n := h.heap - since.heap; n > max(256<<10, min(64*done, 1<<20)) {
		problems = append(problems, fmt.Sprintf("%d KiB of heap more", n>>10))
	}
	return problems
}

// TestSoak does everything at once for a while, and wants that nothing piles up: what the
// gateway holds when nothing is under way is the same in the end as after a fifth of the time.
func TestSoak(t *testing.T) {
	length := soakTime
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK: %v", err)
		}
	}
	s := newSoaked(t)
	const parts = 20
	began, done := time.Now(), func() (n int64) {
		s.done.Range(func(_, count any) bool { n += count.(*atomic.Int64).Load(); return true })
		return n
	}
	s.work(length / 5)
	first, before := s.quiet(), done()
	table := new(strings.Builder)
	row := func(h holding) {
		_, _ = fmt.Fprintf(table, "| %.0f s | %d | %.2f MiB | %d | %d |\n", time.Since(began).Seconds(), done(), float64(h.heap)/(1<<20), h.goroutines, h.descriptors)
	}
	row(first)
	last := first
	for range parts * 4 / 5 {
		s.work(length / parts)
		last = s.quiet()
		row(last)
	}
	t.Logf("\n| after | done | heap | goroutines | descriptors |\n| ---: | ---: | ---: | ---: | ---: |\n%s", table)
	for _, problem := range last.grown(first, done()-before) {
		t.Errorf("%s than after a fifth of the time", problem)
	}
	s.done.Range(func(name, count any) bool {
		if n := count.(*atomic.Int64).Load(); n < 20 {
			t.Errorf("%s was done %d times only", name, n)
		}
		t.Logf("%s: %d times", name, count.(*atomic.Int64).Load())
		return true
	})
}

// TestSoakFindsGrowth: each kind of growth is one.
func TestSoakFindsGrowth(t *testing.T) {
	first := holding{10 << 20, 100, 50}
	for want, h := range map[string]holding{
		"":                      {10<<20 + 200<<10, 102, 52},
		"13 goroutines more":    {10 << 20, 113, 50},
		"14 descriptors more":   {10 << 20, 100, 64},
		"2048 KiB of heap more": {12 << 20, 100, 50},
		"600 KiB of heap more":  {10<<20 + 600<<10, 100, 50},
	} {
		if got := strings.Join(h.grown(first, 5000), ", "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
