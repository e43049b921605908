package proxy

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/upstream"
)

func TestGetComesBackWhole(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/x\r\nX-Up: 1\r\n\r\nhello"))
	f := newFront(t, o)
	r := f.get()
	if r.err != nil || r.status != 200 || r.body != "hello" || r.header.Get("X-Up") != "1" || r.header.Get("Content-Type") != "text/x" {
		t.Fatalf("got %+v", r)
	}
	if e := f.over(); e.status != 200 || !e.fromService || e.streaming || e.bytesOut != 5 || e.tries != 1 {
		t.Errorf("exchange: %+v", e)
	}
}

func TestTheServiceSeesTheComposedHead(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering(okAnswer))
	f := newFront(t, o)
	c := f.dial()
	c.send("GET /a/b?c=%20d HTTP/1.1\r\nHost: front.test:81\r\nUser-Agent: ua\r\nAccept: */*\r\nX-Correlation-ID: abc\r\n" +
		"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers, deflate\r\nCookie: a=b\r\nUpgrade: h2c\r\nProxy-Connection: x\r\n\r\n")
	if r := c.read("GET"); r.status != 200 {
		t.Fatalf("got %+v", r)
	}
	want := "GET /a/b?c=%20d HTTP/1.1\r\nHost: origin.test\r\nUser-Agent: ua\r\nAccept: */*\r\nCookie: a=b\r\nTe: trailers\r\n" +
		"X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: front.test:81\r\n" +
		"Forwarded: for=127.0.0.1;host=\"front.test:81\";proto=http\r\nX-Correlation-ID: abc\r\nVia: 1.1 suuupra\r\n\r\n"
	if got := o.received(0); sorted(got) != sorted(want) || !strings.HasPrefix(got, "GET /a/b?c=%20d HTTP/1.1\r\nHost: origin.test\r\n") {
		t.Errorf("the service got\n%s\nwant\n%s", got, want)
	}
}

// sorted returns a head with its field lines in order.
func sorted(head string) string {
	lines := strings.Split(head, "\r\n")
	for i := range lines {
		for j := i + 1; j < len(lines); j++ {
			if lines[j] < lines[i] {
				lines[i], lines[j] = lines[j], lines[i]
			}
		}
	}
	return strings.Join(lines, "\n")
}

func TestHostFollowsTheRoute(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		change   func(*options)
		head     string
		wantHost string
	}{
		{"endpoint's own", func(*options) {}, "GET / HTTP/1.1\r\nHost: Front.Test\r\n\r\n", "origin.test"},
		{"preserved", func(o *options) { o.route.PreserveHost = true }, "GET / HTTP/1.1\r\nHost: Front.Test:9\r\n\r\n", "Front.Test:9"},
		{"named", func(o *options) { o.route.HostName = "named.test" }, "GET / HTTP/1.1\r\nHost: f\r\n\r\n", "named.test"},
		{"preserved but absent", func(o *options) { o.route.PreserveHost = true }, "GET / HTTP/1.0\r\n\r\n", "origin.test"},
		{"before a user agent", func(*options) {}, "GET / HTTP/1.1\r\nUser-Agent: x\r\nHost: f\r\n\r\n", "origin.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, answering(okAnswer))
			f := newFront(t, o, c.change)
			client := f.dial()
			client.send(c.head)
			if r := client.read("GET"); r.status != 200 {
				t.Fatalf("got %+v", r)
			}
			if got := o.received(0); strings.Count(got, "\r\nHost: ") != 1 || !strings.Contains(got, "\r\nHost: "+c.wantHost+"\r\n") {
				t.Errorf("the service got\n%s", got)
			}
		})
	}
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering(okAnswer))
	f := newFront(t, o)
	c := f.dial()
	for range 5 {
		c.send("GET / HTTP/1.1\r\nHost: f\r\n\r\n")
		if r := c.read("GET"); r.status != 200 || r.body != "ok" {
			t.Fatalf("got %+v", r)
		}
	}
	if o.accepts() != 1 || f.idle() != 1 || f.busy() != 0 {
		t.Errorf("%d connections, %d idle, %d busy; want 1, 1, 0", o.accepts(), f.idle(), f.busy())
	}
	if got := f.proxy.metrics.reuses.Value(); got != 4 {
		t.Errorf("%d reuses counted; want 4", got)
	}
}

func TestKeepaliveOffUsesEachConnectionOnce(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering(okAnswer))
	f := newFront(t, o, func(o *options) { o.spec.Connections.Keepalive = false })
	for range 3 {
		if r := f.get(); r.status != 200 {
			t.Fatalf("got %+v", r)
		}
	}
	if o.accepts() != 3 || f.idle() != 0 {
		t.Errorf("%d connections, %d idle; want 3, 0", o.accepts(), f.idle())
	}
	if got := o.received(0); !strings.Contains(got, "\r\nConnection: close\r\n") {
		t.Errorf("the service got\n%s", got)
	}
}

func TestAnswersWithoutBody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, answer string
		status         int
		length         string
		kept           bool
	}{
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", 200, "500", true},
		{"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, "", true},
		{"HEAD", "HTTP/1.1 200 OK\r\n\r\n", 200, "", true},
		{"GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
		{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nEtag: \"x\"\r\n\r\n", 304, "10", true},
		{"GET", "HTTP/1.1 304 Not Modified\r\n\r\n", 304, "", true},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "0", true},
		{"DELETE", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 200, "0", false},
	} {
		t.Run(fmt.Sprint(c.method, c.status, c.length), func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, answering(c.answer))
			f := newFront(t, o)
			client := f.dial()
			for range 2 {
				client.send(c.method + " / HTTP/1.1\r\nHost: f\r\n\r\n")
				r := client.read(c.method)
				if r.err != nil || r.status != c.status || r.body != "" || r.header.Get("Content-Length") != c.length {
					t.Fatalf("got %+v", r)
				}
			}
			if kept := o.accepts() == 1; kept != c.kept {
				t.Errorf("%d connections for two requests", o.accepts())
			}
		})
	}
}

func TestBodiesOfEveryFraming(t *testing.T) {
	t.Parallel()
	small, large := fill(1000), fill(300_000)
	chunkedBody := func(s string, n int) string {
		var b strings.Builder
		for ; len(s) > n; s = s[n:] {
			b.WriteString(chunk(s[:n]))
		}
		return b.String() + chunk(s) + "0\r\n\r\n"
	}
	for _, c := range []struct {
		name, head, body, want string
		streams, kept          bool
	}{
		{"short", fmt.Sprintf("Content-Length: %d\r\n", len(small)), small, small, false, true},
		{"long", fmt.Sprintf("Content-Length: %d\r\n", len(large)), large, large, true, true},
		{"short chunks", "Transfer-Encoding: chunked\r\n", chunkedBody(small, 100), small, false, true},
		{"long chunks", "Transfer-Encoding: chunked\r\n", chunkedBody(large, 7000), large, true, true},
		{"until close", "", large, large, true, false},
		{"short until close", "Connection: close\r\n", small, small, true, false},
	} {
		for _, minor := range []string{"0", "1"} {
			t.Run(c.name+" to 1."+minor, func(t *testing.T) {
				t.Parallel()
				o := newOrigin(t, func(l *link) {
					for {
						if _, _, err := l.request(); err != nil {
							return
						}
						l.send("HTTP/1.1 200 OK\r\n" + c.head + "\r\n" + c.body)
						if !c.kept {
							return
						}
					}
				})
				f := newFront(t, o)
				for range 2 {
					client := f.dial()
					client.send("GET / HTTP/1." + minor + "\r\nHost: f\r\n\r\n")
					r := client.read("GET")
					if r.err != nil || r.status != 200 || r.body != c.want {
						t.Fatalf("status %d, %d bytes, %v", r.status, len(r.body), r.err)
					}
					if minor == "0" && r.header.Get("Transfer-Encoding") != "" {
						t.Errorf("chunks to a 1.0 client")
					}
					if e := f.over(); e.bytesOut != int64(len(c.want)) || e.status != 200 || e.cause != nil {
						t.Errorf("exchange: %+v", e)
					}
				}
				if kept := o.accepts() == 1; kept != c.kept && c.name != "short chunks" {
					t.Errorf("%d connections for two requests", o.accepts())
				}
			})
		}
	}
}

func TestEventsFlowAsTheyCome(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"chunked", "length", "close"} {
		for _, minor := range []string{"0", "1"} {
			t.Run(framing+minor, func(t *testing.T) {
				t.Parallel()
				next := make(chan struct{})
				o := newOrigin(t, func(l *link) {
					if _, _, err := l.request(); err != nil {
						return
					}
					switch framing {
					case "chunked":
						l.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n")
					case "length":
						l.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
					default:
						l.send("HTTP/1.1 200 OK\r\n\r\n")
					}
					for range next {
						if framing == "chunked" {
							l.send(chunk("tick\n"))
						} else {
							l.send("tick\n")
						}
					}
				})
				f := newFront(t, o)
				c := f.dial()
				c.send("GET / HTTP/1." + minor + "\r\nHost: f\r\n\r\n")
				for {
					line, err := c.r.ReadString('\n')
					if err != nil {
						t.Fatalf("the head waits for a body: %v", err)
					}
					if line == "\r\n" {
						break
					}
				}
				for range 3 {
					next <- struct{}{}
					for got := ""; !strings.HasSuffix(got, "tick\n"); {
						b, err := c.r.ReadByte()
						if err != nil {
							t.Fatalf("an event is held back: %v after %q", err, got)
						}
						got += string(b)
					}
				}
				close(next)
				o.close()
				c.Close()
				f.over()
			})
		}
	}
}

func TestRequestBodies(t *testing.T) {
	t.Parallel()
	small, large := fill(100), fill(200_000)
	chunks := func(s string) string { return chunk(s[:50]) + chunk(s[50:]) + "0\r\n\r\n" }
	for _, c := range []struct {
		name, head, raw, body string
		wantHead              string
	}{
		{"none", "", "", "", "Content-Length: 0"},
		{"short", "Content-Length: 100\r\n", small, small, "Content-Length: 100"},
		{"long", "Content-Length: 200000\r\n", large, large, "Content-Length: 200000"},
		{"chunked", "Transfer-Encoding: chunked\r\n", chunks(small), small, "Transfer-Encoding: chunked"},
		{"long chunked", "Transfer-Encoding: chunked\r\n", chunks(large), large, "Transfer-Encoding: chunked"},
		{"expecting", "Content-Length: 100\r\nExpect: 100-continue\r\n", small, small, "Content-Length: 100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bodies := make(chan string, 8)
			o := newOrigin(t, func(l *link) {
				for {
					_, body, err := l.request()
					if err != nil {
						return
					}
					bodies <- body
					l.send(okAnswer)
				}
			})
			f := newFront(t, o)
			client := f.dial()
			for range 2 {
				client.send("POST / HTTP/1.1\r\nHost: f\r\n" + c.head + "\r\n" + c.raw)
				r := client.read("POST")
				if strings.Contains(c.head, "Expect") && r.status == 100 {
					r = client.read("POST")
				}
				if r.err != nil || r.status != 200 || r.body != "ok" {
					t.Fatalf("got %+v", r)
				}
				if got := <-bodies; got != c.body {
					t.Fatalf("the service got %d bytes, want %d", len(got), len(c.body))
				}
				if e := f.over(); e.bytesIn != int64(len(c.body)) {
					t.Errorf("%d bytes in, want %d", e.bytesIn, len(c.body))
				}
			}
			if o.accepts() != 1 {
				t.Errorf("%d connections for two requests", o.accepts())
			}
			got := o.received(0)
			if !strings.Contains(got, c.wantHead) || strings.Contains(got, "Expect") || strings.Contains(got, "Content-Type") {
				t.Errorf("the service got\n%.600s", got)
			}
		})
	}
}

func TestBodyLimits(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering(okAnswer))
	f := newFront(t, o, func(o *options) { o.route.BodyLimit, o.route.Buffer = 1000, 100 })
	c := f.dial()
	c.send("POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 1001\r\n\r\n" + fill(1001))
	if r := c.read("POST"); r.status != 413 {
		t.Fatalf("got %+v", r)
	}
	if e := f.over(); e.fault != fault.BodyTooLarge.Code() || o.accepts() != 0 {
		t.Errorf("%+v, %d connections: refused after dialling", e, o.accepts())
	}
	c = f.dial()
	c.send("POST / HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(fill(900)) + chunk(fill(200)) + "0\r\n\r\n")
	if r := c.read("POST"); r.status != 413 {
		t.Fatalf("got %+v", r)
	}
	if e := f.over(); e.fault != fault.BodyTooLarge.Code() {
		t.Errorf("exchange: %+v", e)
	}
	eventually(t, "the service's connection closes", func() bool { return f.busy() == 0 && f.idle() == 0 })
	if got := o.received(0); strings.Contains(got, "0\r\n\r\n") {
		t.Errorf("the service got a complete request:\n%s", got)
	}
	c = f.dial()
	c.send("POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 1000\r\n\r\n" + fill(1000))
	if r := c.read("POST"); r.status != 200 {
		t.Errorf("a body of exactly the limit: %+v", r)
	}
}

func TestTruncatedBodiesNeverLookWhole(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		raw     string
		dialled bool
	}{
		"short":                  {"Content-Length: 9000\r\n\r\n" + fill(8500), false},
		"long":                   {"Content-Length: 200000\r\n\r\n" + fill(150_000), true},
		"between chunks":         {"Transfer-Encoding: chunked\r\n\r\n" + chunk("abc"), true},
		"inside a chunk":         {"Transfer-Encoding: chunked\r\n\r\nff\r\nabc", true},
		"inside the last chunk":  {"Transfer-Encoding: chunked\r\n\r\n" + chunk("abc") + "0\r\n", true},
		"in the last line's end": {"Transfer-Encoding: chunked\r\n\r\n" + chunk("abc") + "0\r\n\r", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := make(chan error, 1)
			o := newOrigin(t, func(l *link) {
				_, _, err := l.request()
				whole <- err
			})
			f := newFront(t, o)
			client := f.dial()
			client.send("POST / HTTP/1.1\r\nHost: f\r\n" + c.raw)
			if err := client.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, client.r)
			if e := f.over(); e.fault != fault.BadRequest.Code() && e.status != statusClientGone {
				t.Errorf("exchange: %+v", e)
			}
			if !c.dialled {
				if o.accepts() != 0 {
					t.Error("the service was dialled")
				}
				return
			}
			select {
			case err := <-whole:
				if err == nil {
					t.Errorf("the service took it for whole:\n%s", o.received(0))
				}
			case <-time.After(5 * time.Second):
				t.Fatal("the service was left waiting")
			}
		})
	}
}

func TestBrokenAndSlowBodies(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering(okAnswer))
	f := newFront(t, o, func(o *options) { o.body = 50 * time.Millisecond })
	for name, c := range map[string]struct{ raw, later, fault string }{
		"bad chunk size":   {"Transfer-Encoding: chunked\r\n\r\n" + chunk("abc"), "xyz\r\n", fault.BadRequest.Code()},
		"stalled, long":    {"Content-Length: 200000\r\n\r\n" + fill(150_000), "", fault.RequestTimeout.Code()},
		"stalled, short":   {"Content-Length: 9000\r\n\r\n" + fill(8500), "", fault.RequestTimeout.Code()},
		"stalled, chunked": {"Transfer-Encoding: chunked\r\n\r\n" + chunk("abc"), "", fault.RequestTimeout.Code()},
	} {
		client := f.dial()
		client.send("POST / HTTP/1.1\r\nHost: f\r\n" + c.raw)
		if c.later != "" {
			eventually(t, "the upload has begun", func() bool { return f.busy() == 1 })
			client.send(c.later)
		}
		_, _ = io.Copy(io.Discard, client.r)
		if e := f.over(); e.fault != c.fault {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestHooksMayReplaceTheBody(t *testing.T) {
	t.Parallel()
	bodies := make(chan string, 1)
	o := newOrigin(t, func(l *link) {
		_, body, _ := l.request()
		bodies <- body
		l.send(okAnswer)
	})
	f := newFront(t, o, func(o *options) {
		o.hook = func(x *pipeline.Exchange) { x.Request.SetBodyString("made by a hook") }
	})
	client := f.dial()
	client.send("POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc")
	if r := client.read("POST"); r.status != 200 {
		t.Fatalf("got %+v", r)
	}
	if got := <-bodies; got != "made by a hook" {
		t.Errorf("the service got %q", got)
	}
}

func TestFaultsOfConnecting(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	f := newFront(t, newOrigin(t, answering(okAnswer)), func(o *options) { o.spec.Endpoints[0].Address = address })
	if r := f.get(); r.status != 502 {
		t.Fatalf("got %+v", r)
	}
	e := f.over()
	if e.fault != fault.BadGateway.Code() || e.cause == nil || !strings.Contains(e.cause.Error(), address) {
		t.Errorf("exchange: %+v", e)
	}
	if f.busy() != 0 {
		t.Error("a connection that was never made is counted")
	}
}

func TestAFullPoolRefusesAfterAWhile(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	o := newOrigin(t, func(l *link) {
		for {
			if _, _, err := l.request(); err != nil {
				return
			}
			<-release
			l.send(okAnswer)
		}
	})
	f := newFront(t, o, func(o *options) {
		o.spec.Connections.Maximum = 1
		o.to.Timeouts.Connect = 50 * time.Millisecond
	})
	first := f.dial()
	first.send("GET / HTTP/1.1\r\nHost: f\r\n\r\n")
	eventually(t, "the first holds the connection", func() bool { return f.busy() == 1 })
	if r := f.get(); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Fatalf("got %+v", r)
	}
	if e := f.over(); e.fault != fault.Overloaded.Code() {
		t.Errorf("exchange: %+v", e)
	}
	close(release)
	if r := first.read("GET"); r.status != 200 {
		t.Errorf("the first got %+v", r)
	}
}

func TestWaitersAreServedInOrder(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering(okAnswer))
	f := newFront(t, o, func(o *options) { o.spec.Connections.Maximum = 2 })
	done := make(chan reply, 20)
	for range 20 {
		go func() { done <- f.get() }()
	}
	for range 20 {
		if r := <-done; r.status != 200 {
			t.Fatalf("got %+v", r)
		}
	}
	if n := o.accepts(); n > 2 {
		t.Errorf("%d connections; the maximum is 2", n)
	}
}

func TestInterimAnswers(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"+okAnswer))
	f := newFront(t, o)
	c := f.dial()
	c.send("GET / HTTP/1.1\r\nHost: f\r\n\r\n")
	for _, want := range []int{103, 102, 200} {
		r := c.read("GET")
		if r.status != want {
			t.Fatalf("got %+v, want %d", r, want)
		}
		if want == 103 && (r.header.Get("Link") != "</a>" || r.header.Get("Connection") != "") {
			t.Errorf("fields %v", r.header)
		}
		if want == 200 && r.header.Get("Link") != "" {
			t.Error("a field of the interim answer is in the final one")
		}
	}
	c = f.dial()
	c.send("GET / HTTP/1.0\r\nHost: f\r\n\r\n")
	if r := c.read("GET"); r.status != 200 {
		t.Errorf("a 1.0 client got %+v", r)
	}
}

func TestTrailersPassByName(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-User-Id, X-Other\r\n\r\n"+
		chunk("abc")+"0\r\nX-Sum: 1\r\nX-User-Id: admin\r\nX-Other: 2\r\n\r\n"))
	f := newFront(t, o, func(o *options) { o.route.Trailers = []string{"X-Sum"} })
	c := f.dial()
	for range 2 {
		c.send("POST / HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" +
			chunk("abc") + "0\r\nX-Sum: 7\r\nX-Other: 3\r\n\r\n")
		r := c.read("POST")
		if r.err != nil || r.body != "abc" || r.trailer.Get("X-Sum") != "1" || len(r.trailer) != 1 {
			t.Fatalf("got %+v", r)
		}
	}
	got := o.received(0)
	if strings.Count(got, "X-Sum: 7\r\n") != 2 || strings.Contains(got, "admin") || strings.Contains(got, "X-Other: 3") ||
		strings.Count(got, "Trailer: X-Sum\r\n") != 2 {
		t.Errorf("the service got\n%s", got)
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		timeouts upstream.Timeouts
		perTry   time.Duration
		answer   string
		fault    string
	}{
		"response": {upstream.Timeouts{Connect: time.Second, Response: 60 * time.Millisecond}, 0, "", fault.UpstreamTimeout.Code()},
		"total":    {upstream.Timeouts{Connect: time.Second, Total: 60 * time.Millisecond}, 0, "", fault.UpstreamTimeout.Code()},
		"per try":  {upstream.Timeouts{Connect: time.Second}, 60 * time.Millisecond, "", fault.UpstreamTimeout.Code()},
		"inside a head": {upstream.Timeouts{Connect: time.Second, Response: 60 * time.Millisecond}, 0,
			"HTTP/1.1 200 OK\r\nContent-Le", fault.UpstreamTimeout.Code()},
		"idle in a short body": {upstream.Timeouts{Connect: time.Second, Idle: 60 * time.Millisecond}, 0,
			"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", fault.UpstreamTimeout.Code()},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, func(l *link) {
				_, _, _ = l.request()
				l.send(c.answer)
				l.hold()
			})
			f := newFront(t, o, func(o *options) {
				o.to.Timeouts = c.timeouts
				o.to.Retry.PerTry = c.perTry
			})
			start := time.Now()
			if r := f.get(); r.status != 504 {
				t.Errorf("got %+v", r)
			}
			if e := f.over(); e.fault != c.fault {
				t.Errorf("exchange: %+v", e)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestAnArmedDeadlineThatFiresEarlyIsArmedAgain waits for less than the deadline, but beyond the
// moment for which an earlier request has armed it. A busy machine may be late by more than what is left: then
// all is tried again with longer times. A deadline that is not armed again fails with any.
func TestAnArmedDeadlineThatFiresEarlyIsArmedAgain(t *testing.T) {
	t.Parallel()
	var problem string
	for unit := within(10 * time.Millisecond); unit <= within(160*time.Millisecond); unit *= 2 {
		if problem = armedEarly(t, unit); problem == "" {
			return
		}
		t.Logf("with units of %v: %s", unit, problem)
	}
	t.Error(problem)
}

// armedEarly answers the second of three requests 15 units after it came, which is 33 after
// the first, of 25 that an answer may take.
func armedEarly(t *testing.T, unit time.Duration) (problem string) {
	o := newOrigin(t, func(l *link) {
		for i := 0; ; i++ {
			if _, _, err := l.request(); err != nil {
				return
			}
			if i == 1 {
				time.Sleep(15 * unit)
			}
			l.send(okAnswer)
		}
	})
	f := newFront(t, o, func(o *options) {
		o.to.Timeouts = upstream.Timeouts{Connect: waitAtMost, Response: 25 * unit}
	})
	c := f.dial()
	for i := range 3 {
		c.send("GET / HTTP/1.1\r\nHost: f\r\n\r\n")
		if r := c.read("GET"); r.status != 200 {
			return fmt.Sprintf("request %d: %+v", i, r)
		}
		if i == 0 {
			time.Sleep(18 * unit) // the connection idles under the first deadline
		}
	}
	if o.accepts() != 1 {
		return fmt.Sprintf("%d connections; the deadline cost one", o.accepts())
	}
	return ""
}

func TestIdleConnectionsExpire(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering(okAnswer))
	f := newFront(t, o, func(o *options) { o.spec.Connections.IdleTimeout = 20 * time.Millisecond })
	if r := f.get(); r.status != 200 {
		t.Fatalf("got %+v", r)
	}
	eventually(t, "the idle connection is closed", func() bool { return f.idle() == 0 })
	if r := f.get(); r.status != 200 || o.accepts() != 2 {
		t.Errorf("got %+v by %d connections", r, o.accepts())
	}
}

func TestNoMoreIdleConnectionsThanAllowed(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	o := newOrigin(t, func(l *link) {
		for {
			if _, _, err := l.request(); err != nil {
				return
			}
			<-release
			l.send(okAnswer)
		}
	})
	f := newFront(t, o, func(o *options) { o.spec.Connections.Idle = 2 })
	done := make(chan reply, 5)
	for range 5 {
		go func() { done <- f.get() }()
	}
	eventually(t, "five connections are busy", func() bool { return f.busy() == 5 })
	close(release)
	for range 5 {
		<-done
	}
	eventually(t, "all are given back", func() bool { return f.busy() == 0 })
	if f.idle() != 2 {
		t.Errorf("%d idle connections, want 2", f.idle())
	}
}

func TestForwardedFieldsOfATrustedPeer(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering(okAnswer))
	f := newFront(t, o, func(o *options) {
		o.trust = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	c := f.dial()
	c.send("GET / HTTP/1.1\r\nHost: f\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n" +
		"X-Forwarded-Host: shop.test\r\nX-Real-Ip: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Port: 444\r\n\r\n")
	if r := c.read("GET"); r.status != 200 {
		t.Fatalf("got %+v", r)
	}
	got := o.received(0)
	for _, want := range []string{
		"X-Forwarded-For: 203.0.113.9, 10.0.0.1, 127.0.0.1\r\n", "X-Forwarded-Proto: https\r\n", "X-Forwarded-Host: shop.test\r\n",
		"X-Real-Ip: 203.0.113.9\r\n", "Forwarded: for=203.0.113.9;host=shop.test;proto=https, for=10.0.0.1, for=127.0.0.1\r\n", "X-Forwarded-Port: 444\r\n",
	} {
		if strings.Count(got, want) != 1 {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Count(got, "Forwarded: ") != 1 || strings.Contains(got, "6.6.6.6") {
		t.Errorf("the service got\n%s", got)
	}
	if e := f.over(); e.client.String() != "203.0.113.9" {
		t.Errorf("the client is %s", e.client)
	}
}

func TestResponseFieldsOfOneHopStayHere(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering("HTTP/1.1 299 Odd\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop, Te\r\nX-Hop: 1\r\n"+
		"Keep-Alive: timeout=5\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\nX-Correlation-Id: theirs\r\nTrailer: X-End-To-End\r\nX-End-To-End: 1\r\nServer: them\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok"))
	f := newFront(t, o)
	r := f.get()
	if r.status != 299 || r.body != "ok" || r.header.Get("X-End-To-End") != "1" || r.header.Get("Server") != "them" || len(r.header["Set-Cookie"]) != 2 {
		t.Fatalf("got %+v", r)
	}
	for _, name := range []string{"Connection", "X-Hop", "Keep-Alive", "Upgrade", "Proxy-Authenticate", "X-Correlation-Id", "Trailer"} {
		if r.header.Get(name) != "" {
			t.Errorf("%s came through", name)
		}
	}
}

func TestAnHTTP10ServiceIsUnderstood(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(l *link) {
		if _, _, err := l.request(); err == nil {
			l.send("HTTP/1.0 200 Fine\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	f := newFront(t, o)
	for range 2 {
		if r := f.get(); r.status != 200 || r.proto != "HTTP/1.1" || r.body != "ok" {
			t.Errorf("got %+v", r)
		}
	}
	if f.idle() != 0 {
		t.Error("a connection that ends was kept")
	}
}

func TestAFaultInPlaceOfAStreamedAnswer(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nX-Up: 1\r\n\r\n"+fill(100_000)))
	f := newFront(t, o, func(o *options) {
		o.after = func(x *pipeline.Exchange) { x.Fail(fault.Forbidden) }
	})
	if r := f.get(); r.status != 403 || r.header.Get("X-Up") != "" {
		t.Fatalf("got %+v", r)
	}
	if e := f.over(); e.status != 403 || e.fault != fault.Forbidden.Code() {
		t.Errorf("exchange: %+v", e)
	}
	if f.busy() != 0 {
		t.Error("the connection is still held")
	}
}

func TestMetricsAreShown(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering(okAnswer))
	f := newFront(t, o)
	f.get()
	var b strings.Builder
	f.meter.WritePrometheus(&b)
	for _, want := range []string{`gateway_upstream_connections{state="idle"} 1`, `gateway_upstream_connections{state="busy"} 0`, "gateway_upstream_dials_total 1"} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("no %q", want)
		}
	}
}

var _ = fasthttp.StatusOK
