package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

const ask = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

// okay is the gateway's whole answer to ask, with further field lines behind the
// service's own.
func okay(lines string) string {
	return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n" + lines + "\r\nok"
}

// draining starts a gateway before an endpoint that holds back its answer to /slow
// and the end of the stream at /stream until release is closed.
func draining(t *testing.T, log io.Writer) (g *gatewaytest.Gateway, origin *gatewaytest.Origin, release chan struct{}) {
	t.Helper()
	release = make(chan struct{})
	origin = gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		for {
			request, err := c.ReadRequest()
			if err != nil {
				return
			}
			answer := gatewaytest.OK
			switch {
			case strings.HasPrefix(request, "GET /slow"):
				<-release
			case strings.HasPrefix(request, "GET /stream"):
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n") // the rest tells
				<-release
				answer = "4\r\nlast\r\n0\r\n\r\n"
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	g = gatewaytest.RunOptions(t, fmt.Sprintf(`
services: {a: {endpoints: [{url: "%s"}]}}
routes: {a: {match: {path: "/{rest...}"}, service: a}}
`, origin.URL()), gatewaytest.Options{Log: log})
	return g, origin, release
}

// phase waits until gateway_draining shows n.
func phase(t *testing.T, g *gatewaytest.Gateway, n int) {
	t.Helper()
	want := fmt.Sprintf("\ngateway_draining %d\n", n)
	gatewaytest.Eventually(t, "draining is in phase "+fmt.Sprint(n), func() bool { return strings.Contains(g.Metrics(), want) })
}

func readyz(t *testing.T, g *gatewaytest.Gateway) string {
	t.Helper()
	status, _, _ := strings.Cut(gatewaytest.Do(t, g.Admin(), "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), "\r\n")
	return status
}

func TestS1_DrainTellsAndServesEverybody(t *testing.T) {
	t.Parallel()
	var log record
	g, _, release := draining(t, &log)
	idle, slow, stream := gatewaytest.Dial(t, g.Address()), gatewaytest.Dial(t, g.Address()), gatewaytest.Dial(t, g.Address())
	for _, c := range []*gatewaytest.Client{idle, slow} {
		c.Write(ask)
		same(t, "the answer before", c.Read("GET"), okay(""))
	}
	slow.Write("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
	stream.Write("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
	for stream.TakeLine() != "5\r\n" {
	}
	if got := readyz(t, g); got != "HTTP/1.1 200 OK" {
		t.Errorf("before: %s", got)
	}
	phase(t, g, 0)

	outcome := g.Drain(context.Background(), gateway.Drain{Delay: 500 * time.Millisecond, Timeout: time.Minute})
	phase(t, g, 1)
	if got := readyz(t, g); got != "HTTP/1.1 503 Service Unavailable" {
		t.Errorf("while draining: %s", got)
	}
	// New connections and new requests are served, and told.
	newcomer := gatewaytest.Dial(t, g.Address())
	newcomer.Write(ask)
	same(t, "a newcomer's answer", newcomer.Read("GET"), okay("Connection: close\r\n"))
	newcomer.Closed()
	old := gatewaytest.Dial(t, g.Address())
	old.Write("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	same(t, "an HTTP/1.0 client's answer", old.Read("GET"), okay("Connection: close\r\n"))
	old.Closed()

	// The listener closes; an idle connection has one more request.
	phase(t, g, 2)
	if c, err := net.Dial("tcp", g.Address()); err == nil {
		_ = c.Close()
		t.Error("a connection was accepted after the delay")
	}
	idle.Write("GET /nothing-of-the-kind HTTP/1.1\r\nHost: h\r\n\r\n")
	same(t, "the idle one's last answer", idle.Read("GET"), okay("Connection: close\r\n"))
	idle.Closed()

	// What is under way ends in its own time.
	close(release)
	same(t, "the slow answer", slow.Read("GET"), okay("Connection: close\r\n"))
	slow.Closed()
	if got := stream.Take(len("first\r\n4\r\nlast\r\n0\r\n\r\n")); got != "first\r\n4\r\nlast\r\n0\r\n\r\n" {
		t.Errorf("the stream's rest is %q", got)
	}
	// Its head was out before the drain began, so it does not know: it may ask again.
	stream.Write(ask)
	same(t, "the stream's next answer", stream.Read("GET"), okay("Connection: close\r\n"))
	stream.Closed()
	if err := <-outcome; err != nil {
		t.Errorf("the outcome: %v", err)
	}
	phase(t, g, 4)
	for _, line := range []string{"draining: /readyz says 503", "draining: no longer accepting", `"message":"drained"`} {
		if log.count(line) != 1 {
			t.Errorf("%d lines say %q", log.count(line), line)
		}
	}
}

func TestS1_FaultsTellToo(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Run(t, `routes: {here: {match: {path: /here}, respond: {status: 200, body: x}}}`)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	outcome := g.Drain(ctx, gateway.Drain{Delay: time.Hour, Timeout: time.Hour})
	phase(t, g, 1)
	for _, c := range []struct{ raw, status string }{
		{"GET /here HTTP/1.1\r\nHost: h\r\n\r\n", "200 OK"},
		{"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", "404 Not Found"},
		{"POST /here HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", "200 OK"},
		{"POST /nowhere HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", "404 Not Found"},
		{"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "204 No Content"},
		{"GET / HTTP/1.1\r\nHost : h\r\n\r\n", "400 Bad Request"},
	} {
		client := gatewaytest.Dial(t, g.Address())
		client.Write(c.raw)
		got := client.Read("GET")
		if !strings.HasPrefix(got, "HTTP/1.1 "+c.status+"\r\n") || strings.Count(got, "\r\nConnection: close\r\n") != 1 {
			t.Errorf("%q: got %q", c.raw, got)
		}
		client.Closed()
	}
	gatewaytest.Eventually(t, "no connection is left", func() bool { // each client saw its end before the gateway has noted it
		return strings.Contains(g.Metrics(), `gateway_connections{listener="public"} 0`)
	})
	cancel()
	if err := <-outcome; err != nil {
		t.Error(err)
	}
}

func TestRFC9112_9_5_IdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	var log record
	g, origin, _ := draining(t, &log)
	silent, used := gatewaytest.Dial(t, g.Address()), gatewaytest.Dial(t, g.Address())
	used.Write(ask)
	same(t, "the answer", used.Read("GET"), okay(""))
	gatewaytest.Eventually(t, "both are there", func() bool {
		return strings.Contains(g.Metrics(), `gateway_connections{listener="public"} 2`)
	})
	outcome := g.Drain(context.Background(), gateway.Drain{Timeout: time.Second})
	silent.Closed()
	used.Closed()
	if err := <-outcome; err != nil {
		t.Errorf("idle connections count as cut: %v", err)
	}
	if n := len(origin.Requests()); n != 1 {
		t.Errorf("the endpoint got %d requests", n)
	}
	if log.count(`"message":"drained"`) != 1 {
		t.Error("the log does not say that it ended")
	}
}

func TestS1_WhatDoesNotEndIsCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		drain  gateway.Drain
		signal bool
	}{
		{"after its time", gateway.Drain{Timeout: 300 * time.Millisecond}, false},
		{"by a second signal in the delay", gateway.Drain{Delay: time.Hour, Timeout: time.Hour}, true},
		{"by a second signal later", gateway.Drain{Timeout: time.Hour}, true},
		{"at once", gateway.Drain{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g, _, release := draining(t, io.Discard)
			defer close(release)
			stream, upload, idle := gatewaytest.Dial(t, g.Address()), gatewaytest.Dial(t, g.Address()), gatewaytest.Dial(t, g.Address())
			stream.Write("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
			for stream.TakeLine() != "5\r\n" {
			}
			upload.Write("POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
			idle.Write(ask)
			same(t, "the answer", idle.Read("GET"), okay(""))
			gatewaytest.Eventually(t, "the upload is under way", func() bool { return strings.Contains(g.Metrics(), "\ngateway_in_flight 2\n") })
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			outcome := g.Drain(ctx, c.drain)
			if c.signal {
				if c.drain.Delay > 0 {
					phase(t, g, 1)
				} else {
					phase(t, g, 2)
				}
				cancel()
			}
			err := <-outcome
			if err == nil || !strings.Contains(err.Error(), "2 connections were cut in the middle of an exchange") {
				t.Errorf("the outcome: %v", err)
			}
			if rest, err := stream.Rest(); err == nil && strings.HasSuffix(rest, "0\r\n\r\n") {
				t.Errorf("a cut stream seems whole: %q", rest)
			}
			_, _ = upload.Rest() // ends
			idle.Closed()
		})
	}
}

func TestOP1_TheWatchdogSeesAcceptLoops(t *testing.T) {
	t.Parallel()
	g, _, _ := draining(t, io.Discard)
	if err := g.Turns(context.Background()); err != nil {
		t.Error(err)
	}
	outcome := g.Drain(context.Background(), gateway.Drain{Timeout: time.Second})
	if err := <-outcome; err != nil {
		t.Error(err)
	}
	if err := g.Turns(context.Background()); err != nil {
		t.Errorf("after the drain: %v", err)
	}
}

// TestOP1_APassedSocketIsServedAndLeft: the gateway takes the socket of its listener's
// name, says if it is bound elsewhere, and leaves it to the others that hold it.
func TestOP1_APassedSocketIsServedAndLeft(t *testing.T) {
	t.Parallel()
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // nor does systemd make such
	theirs, err := plain.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	f, err := theirs.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	passed, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	var log record
	g := gatewaytest.RunOptions(t, `routes: {here: {match: {path: /here}, respond: {status: 200, body: x}}}`, gatewaytest.Options{
		Log: &log, Sockets: map[string]*net.TCPListener{"public": passed.(*net.TCPListener)},
	})
	if g.Address() != theirs.Addr().String() {
		t.Errorf("it listens on %s, the socket on %s", g.Address(), theirs.Addr())
	}
	if got := g.Do("GET /here HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("got %q", got)
	}
	if n := log.count("bound elsewhere than the configuration says"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	if err := <-g.Drain(context.Background(), gateway.Drain{Timeout: time.Second}); err != nil {
		t.Error(err)
	}
	client := gatewaytest.Dial(t, theirs.Addr().String())
	c, err := theirs.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	client.Closed()
}
