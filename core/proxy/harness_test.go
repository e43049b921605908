package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/clientip"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/listen"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv(answeringEnv) != "" {
		answerAll()
		return
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

// origin is an endpoint that does to each connection what its test says, and
// keeps every byte that reached it.
type origin struct {
	listener net.Listener
	tls      *tls.Config // nil: plain HTTP
	spec     upstream.TLS
	group    sync.WaitGroup
	closing  chan struct{}
	closed   sync.Once

	mu    sync.Mutex
	got   [][]byte // by connection
	conns []net.Conn
}

// link is one connection that an origin accepted.
type link struct {
	net.Conn
	r     *bufio.Reader
	raw   net.Conn // below TLS
	index int      // which connection of the origin's it is, from 0
	over  <-chan struct{}
}

// hold waits until the origin closes.
func (l *link) hold() { <-l.over }

// newOrigin starts an origin; in tests below TestOverTLS it speaks TLS.
func newOrigin(t testing.TB, serve func(*link)) *origin {
	t.Helper()
	if strings.HasPrefix(t.Name(), overTLS) {
		authority := certificatetest.NewAuthority(t)
		leaf := authority.Issue(t, "origin.test")
		return newSecureOrigin(t, &tls.Config{Certificates: []tls.Certificate{leaf.Pair.TLS}},
			upstream.TLS{ServerName: "origin.test", Minimum: tls.VersionTLS12, Authorities: authority.PEM}, serve)
	}
	return newSecureOrigin(t, nil, upstream.TLS{}, serve)
}

// overTLS begins the names of tests whose origins speak TLS.
const overTLS = "TestOverTLS"

func newSecureOrigin(t testing.TB, config *tls.Config, spec upstream.TLS, serve func(*link)) *origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{listener: l, tls: config, spec: spec, closing: make(chan struct{})}
	o.group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			o.mu.Lock()
			i := len(o.conns)
			o.conns = append(o.conns, conn)
			o.got = append(o.got, nil)
			o.mu.Unlock()
			o.group.Go(func() {
				raw := conn
				defer raw.Close()
				if o.tls != nil {
					conn = tls.Server(raw, o.tls)
					defer conn.Close()
				}
				serve(&link{Conn: conn, r: bufio.NewReader(&recorder{o, i, conn}), raw: raw, index: i, over: o.closing})
			})
		}
	})
	t.Cleanup(o.close)
	return o
}

func (o *origin) close() {
	o.closed.Do(func() { close(o.closing) })
	o.listener.Close()
	o.mu.Lock()
	for _, c := range o.conns {
		c.Close()
	}
	o.mu.Unlock()
	o.group.Wait()
}

func (o *origin) address() string { return o.listener.Addr().String() }

// accepts is how many connections there were.
func (o *origin) accepts() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns)
}

// received is all bytes that came on the i-th connection so far.
func (o *origin) received(i int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i >= len(o.got) {
		return "" // the connection was closed before it was accepted
	}
	return string(o.got[i])
}

type recorder struct {
	o *origin
	i int
	r io.Reader
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.o.mu.Lock()
	r.o.got[r.i] = append(r.o.got[r.i], p[:n]...)
	r.o.mu.Unlock()
	return n, err
}

// request reads one whole request and returns it with its body.
func (l *link) request() (*http.Request, string, error) {
	r, err := http.ReadRequest(l.r)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(r.Body)
	return r, string(body), err
}

func (l *link) send(s string) { _, _ = io.WriteString(l, s) }

// answering serves requests one after another with the same answer.
func answering(answer string) func(*link) {
	return func(l *link) {
		for {
			if _, _, err := l.request(); err != nil {
				return
			}
			l.send(answer)
		}
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// ended is what a test wants to know of an exchange that is over.
type ended struct {
	status            int
	fault             string
	cause             error
	tries             int
	fromService       bool
	streaming         bool
	bytesIn, bytesOut int64
	client            netip.Addr
}

// waitAtMost is how long a test waits for what must come, and longer than any wait that a
// test is about: machines are busy. Nothing waits for it when all is well.
const waitAtMost = 30 * time.Second

// front is a listener with a server that forwards to one service: what
// core/gateway does, without routes and hooks.
type front struct {
	t        testing.TB
	proxy    *Proxy
	meter    *meter.Set
	route    *pipeline.Route
	trusted  *clientip.Trusted
	listener *listen.Listener
	service  *upstream.Service
	ended    chan ended
	hook     func(*pipeline.Exchange) // before the round trip
	after    func(*pipeline.Exchange) // behind it
}

// options changes a front before it starts.
type options struct {
	spec  upstream.ServiceSpec
	route pipeline.Route
	to    pipeline.Destination
	hook  func(*pipeline.Exchange)
	after func(*pipeline.Exchange)
	trust []netip.Prefix
	body  time.Duration // listener's timeout between reads of a body
}

func newFront(t testing.TB, o *origin, change ...func(*options)) *front {
	t.Helper()
	set := options{
		spec: upstream.ServiceSpec{
			Name:        "svc",
			Endpoints:   []upstream.EndpointSpec{{Address: o.address(), HostHeader: "origin.test", Weight: 1, TLS: o.spec}},
			Connections: upstream.ConnectionSettings{Maximum: 64, Idle: 64, IdleTimeout: time.Minute, Keepalive: true},
		},
		route: pipeline.Route{
			Chain: pipeline.NewChain(nil),
			Name:  "r", BodyLimit: 1 << 20, Buffer: 64 << 10,
		},
		to: pipeline.Destination{
			Timeouts: upstream.Timeouts{Connect: waitAtMost, Response: waitAtMost, Idle: waitAtMost, Total: 2 * waitAtMost},
		},
		body: waitAtMost,
	}
	for _, c := range change {
		c(&set)
	}
	f := &front{t: t, ended: make(chan ended, 1024), hook: set.hook, after: set.after}
	f.meter = meter.NewSet(time.Now)
	f.proxy = New(Options{Clock: clock.Real(), Meter: f.meter})
	f.trusted = clientip.New(set.trust)
	registry := upstream.NewRegistry(f.proxy.Open)
	service, err := registry.Acquire(set.spec)
	if err != nil {
		t.Fatal(err)
	}
	f.service = service
	set.to.Service = service
	set.route.Destinations = []*pipeline.Destination{&set.to}
	f.route = &set.route
	f.listener, err = listen.Listen("127.0.0.1:0", listen.Options{
		Name: "test", Limits: wire.Limits{URI: 8 << 10, Header: 16 << 10, Headers: 100},
		HeaderTimeout: waitAtMost, BodyTimeout: set.body, IdleTimeout: waitAtMost, WriteTimeout: waitAtMost,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &fasthttp.Server{
		Handler: f.handler(), StreamRequestBody: true, DisablePreParseMultipartForm: true, NoDefaultServerHeader: true,
		NoDefaultContentType: true, ReadBufferSize: 17 << 10, MaxRequestBodySize: 1 << 40, Logger: silent{},
		ErrorHandler: func(ctx *fasthttp.RequestCtx, err error) { ctx.Response.SetStatusCode(400) },
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(f.listener) })
	t.Cleanup(func() {
		f.listener.Close()
		f.listener.CloseAll()
		serving.Wait()
		_ = server.Shutdown()
		service.Release()
		f.proxy.Close()
	})
	return f
}

type silent struct{}

func (silent) Printf(string, ...any) {}

func (f *front) handler() fasthttp.RequestHandler {
	var pool sync.Pool
	factory := pipeline.NewFactory(func(x *pipeline.Exchange) {
		e := ended{
			status: x.Status, fault: x.Fault.Code(), cause: x.Cause, tries: x.Tries, fromService: x.FromService,
			streaming: x.Streaming, bytesIn: x.BytesIn, bytesOut: x.BytesOut, client: x.Client,
		}
		if e.status == 0 {
			e.status = x.Response.StatusCode()
		}
		x.Reset()
		pool.Put(x)
		select {
		case f.ended <- e:
		default:
		}
	})
	pool.New = func() any { return factory.New() }
	return func(ctx *fasthttp.RequestCtx) {
		x := pool.Get().(*pipeline.Exchange)
		conn := ctx.Conn().(*listen.Conn)
		x.Enter()
		x.Request, x.Response, x.Down, x.Head, x.Route = &ctx.Request, &ctx.Response, conn, conn.Head(), f.route
		x.Peer = pipeline.Peer{Address: conn.RemoteAddrPort(), Listener: conn.Listener()}
		x.Correlate(ctx.Request.Header.Peek(pipeline.HeaderCorrelationID))
		f.proxy.Sanitize(x, f.trusted)
		if err := x.SetTarget(wire.PathOptions{}); err != nil {
			panic(err)
		}
		if f.hook != nil {
			f.hook(x)
		}
		verdict := f.proxy.RoundTrip(x)
		if f.after != nil {
			f.after(x)
		}
		if verdict == pipeline.Abort {
			x.Down.Abort()
		}
		x.Leave()
	}
}

// over returns what became of the exchange that ended next.
func (f *front) over() ended {
	f.t.Helper()
	select {
	case e := <-f.ended:
		return e
	case <-time.After(waitAtMost):
		f.t.Fatal("no exchange ended")
		return ended{}
	}
}

// caller is a client's connection to a front.
type caller struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (f *front) dial() *caller {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.listener.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * waitAtMost))
	return &caller{Conn: conn, t: f.t, r: bufio.NewReader(conn)}
}

func (c *caller) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

// reply is an answer as the client saw it.
type reply struct {
	status  int
	proto   string
	header  http.Header
	trailer http.Header
	body    string
	length  int64
	err     error // of reading the body
}

// read reads an answer to a request of that method.
func (c *caller) read(method string) reply {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return reply{err: err}
	}
	body, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, proto: resp.Proto, header: resp.Header, trailer: resp.Trailer, body: string(body), length: resp.ContentLength, err: err}
}

// get sends a plain GET on a connection of its own.
func (f *front) get() reply {
	f.t.Helper()
	c := f.dial()
	c.send("GET /path?q=1 HTTP/1.1\r\nHost: front.test\r\n\r\n")
	return c.read("GET")
}

// eventually waits until ok, and fails the test when it takes too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitAtMost); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", waitAtMost, what)
		}
	}
}

// idle is how many connections wait in the front's pools; busy how many don't.
func (f *front) idle() int { _, idle := f.proxy.connections(); return idle }
func (f *front) busy() int { busy, _ := f.proxy.connections(); return busy }

// chunk frames s as one chunk.
func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

// fill is n bytes that tell where they stood.
func fill(n int) string {
	b := make([]byte, 0, n+20)
	for i := 0; len(b) < n; i++ {
		b = append(strconv.AppendInt(b, int64(i), 10), ',')
	}
	return string(b[:n])
}
