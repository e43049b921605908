package gateway_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// originAddress in the environment makes this binary a service at that address.
const originAddress = "GATEWAY_TEST_ORIGIN"

// beOrigin answers until it is killed.
func beOrigin(address string) {
	server := &http.Server{Addr: address, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
}

// process is a service that can be killed.
type process struct {
	t       *testing.T
	address string
	command *exec.Cmd
}

// startProcess starts a service at a free address, and waits until it answers.
func startProcess(t *testing.T) *process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, address: l.Addr().String()}
	l.Close()
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.command = exec.Command(os.Args[0])
	p.command.Env = append(os.Environ(), originAddress+"="+p.address)
	if err := p.command.Start(); err != nil {
		p.t.Fatal(err)
	}
	within(p.t, "the service answers", func() bool {
		conn, err := net.DialTimeout("tcp", p.address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (p *process) signal(s syscall.Signal) {
	if err := p.command.Process.Signal(s); err != nil {
		p.t.Error(err)
	}
}

func (p *process) kill() {
	_ = p.command.Process.Kill() // it may have been killed
	_ = p.command.Wait()         // as above
}

func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// logged is a log that a test looks at while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return true
		}
	}
	return false
}

// TestUP3_AProcessThatDies: one of three endpoints is killed, and then stopped, under
// requests of which none is to fail; it is ejected, is not asked again until its time is over,
// and is asked again when it lives.
func TestUP3_AProcessThatDies(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		fail, heal func(*process)
		last       string // what the log says of the last failure
	}{
		"SIGKILL": {func(p *process) { p.kill() }, func(p *process) { p.start() }, "no connection"},
		"SIGSTOP": {func(p *process) { p.signal(syscall.SIGSTOP) }, func(p *process) { p.signal(syscall.SIGCONT) }, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			services := []*process{startProcess(t), startProcess(t), startProcess(t)}
			var log logged
			g := gatewaytest.RunOptions(t, fmt.Sprintf(`
services:
  a:
    endpoints: [{url: "http://%s"}, {url: "http://%s"}, {url: "http://%s"}]
    ejection: {consecutive: 3, ratio: off, base: 500ms, maximum_share: 50%%}
    slow_start: 200ms
    timeouts: {connect: 5s, response: 10s, total: 60s}
    retry: {retries: 2, per_try: 1s, budget: 100%%}
routes: {a: {match: {path: /a}, service: a}}
`, services[0].address, services[1].address, services[2].address), gatewaytest.Options{Log: &log})
			sick := services[1]
			labels := fmt.Sprintf(`{service="a",endpoint=%q}`, sick.address)
			in := func(want string) bool {
				if answer := g.Do("GET /a HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
					t.Fatalf("a request failed: %s", answer)
				}
				return strings.Contains(g.Metrics(), "gateway_upstream_in_service"+labels+" "+want+"\n")
			}
			if !in("1") {
				t.Error("it is not in service from the start")
			}
			fault.fail(sick)
			within(t, "it is ejected", func() bool { return in("0") })
			within(t, "the log tells why", func() bool {
				return log.has(`"level":"warn"`, `"service":"a"`, `"endpoint":"`+sick.address+`"`, "too many failures in a row; the last: "+fault.last)
			})
			within(t, "it is ejected again, for longer, as it fails", func() bool { in("0"); return log.has(`"for":"1s"`) })
			fault.heal(sick)
			within(t, "it is back for good", func() bool {
				return in("1") && served(g.Metrics(), labels) > 0 && log.has(`"level":"info"`, `"in_service":true`, `"endpoint":"`+sick.address+`"`)
			})
			before := served(g.Metrics(), labels)
			within(t, "it is asked again", func() bool { in("1"); return served(g.Metrics(), labels) > before+3 })
		})
	}
}

// served is how many requests were sent to the endpoint of labels.
func served(metrics, labels string) (n int) {
	_, rest, _ := strings.Cut(metrics, "gateway_upstream_requests_total"+labels+" ")
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// TestUP3_WhatTellsOfTheEndpoint: answers that a caller can bring about by asking for
// nonsense eject nobody, and nor does whoever hangs up.
func TestUP3_WhatTellsOfTheEndpoint(t *testing.T) {
	t.Parallel()
	for status, ejects := range map[string]bool{
		"200 OK": false, "400 Bad Request": false, "404 Not Found": false, "429 Too Many Requests": false, "501 Not Implemented": false,
		"505 HTTP Version Not Supported": false, "500 Internal Server Error": true, "502 Bad Gateway": true, "503 Service Unavailable": true, "599 X": true,
	} {
		sick := gatewaytest.NewOrigin(t, func(string) string { return "HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n\r\n" })
		well := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
		g := gatewaytest.RunOptions(t, `
services: {a: {endpoints: [{url: "`+sick.URL()+`"}, {url: "`+well.URL()+`"}], retry: off, ejection: {}}}
routes: {a: {match: {path: /a}, service: a}}
`, gatewaytest.Options{Log: new(logged)})
		for range 20 {
			g.Do("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
		}
		want := 10
		if ejects {
			want = 5
		}
		if got := len(sick.Requests()); got != want {
			t.Errorf("%s: %d of 20 requests, want %d", status, got, want)
		}
	}
}
