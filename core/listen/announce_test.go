package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/socket"
)

var (
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	faraway  = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
)

// who answers who the client is.
func who(ctx *fasthttp.RequestCtx, c *Conn) {
	ctx.SetBodyString(fmt.Sprintf("%s %s", c.RemoteAddrPort(), c.RemoteAddr()))
}

const announcing = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"

// TestC10_Announced: who the header names is the client from then on, over TLS as
// well, however the header is cut.
func TestC10_Announced(t *testing.T) {
	t.Parallel()
	ca := certificatetest.NewAuthority(t)
	config := &tls.Config{RootCAs: ca.Pool, ServerName: "a.example.com"}
	plain := serve(t, Options{Announcers: loopback, OnRefused: func(_ netip.AddrPort, err error) { t.Error(err) }}, who)
	secure := serve(t, Options{Announcers: loopback, Credentials: credentials(t, ca.Issue(t, "a.example.com"))}, who)
	for name, header := range map[string]string{
		"v1": announcing, "v2": v2(0x21, proxyTCP4, []byte{192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 187, 4, 0, 0}...),
	} {
		want := "200 192.0.2.7:4711 192.0.2.7:4711"
		c := plain.dial(t)
		c.send(header, get("/"), get("/"))
		if got := c.answer() + "," + c.answer(); got != want+","+want {
			t.Errorf("%s: got %s", name, got)
		}
		c = plain.dial(t)
		for i := range len(header) {
			c.send(header[i : i+1])
		}
		c.send(get("/"))
		if got := c.answer(); got != want {
			t.Errorf("%s byte by byte: got %s", name, got)
		}
		c = secure.dial(t)
		c.send(header)
		c.secure = tls.Client(c.TCPConn, config)
		c.w = c.secure
		c.send(get("/"))
		c.r.Reset(c.secure)
		if got := c.answer(); got != want {
			t.Errorf("%s over TLS: got %s", name, got)
		}
	}
	for name, header := range map[string]string{"local": v2(0x20, 0), "unspecified": v2(0x21, 0, 1, 2), "unknown": "PROXY UNKNOWN\r\n"} {
		c := plain.dial(t)
		c.send(header, get("/"))
		own := c.LocalAddr().String()
		if got := c.answer(); got != "200 "+own+" "+own {
			t.Errorf("%s: got %s, want %s", name, got, own)
		}
	}
	if plain.BadHeaders()+secure.BadHeaders() != 0 {
		t.Errorf("counted %d and %d", plain.BadHeaders(), secure.BadHeaders())
	}
}

// TestC10_Unannounced: a connection without a good header in time gets no answer,
// and keeps nobody from connecting.
func TestC10_Unannounced(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []string
	s := serve(t, Options{Announcers: loopback, HeaderTimeout: bearable, OnRefused: func(_ netip.AddrPort, err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, err.Error())
	}}, who)
	tests := []struct {
		in, told string
		end      bool // the client half-closes
	}{
		{get("/"), errProxyMissing.Error(), false},
		{"PROXY TCP4 x\r\n" + get("/"), errProxyBad.Error(), false},
		{"PROXY TCP4 " + strings.Repeat("1", 200), errProxyLong.Error(), false},
		{v2(0x20, 0, make([]byte, mostProxyV2+1)...), errProxyLong.Error(), false},
		{"PROXY TCP4", errEndsEarly.Error(), true},
		{"", errEndsEarly.Error(), true},
		{"PROXY TCP4", "no PROXY header came in time", false},
		{"", "no PROXY header came in time", false},
	}
	for i, tt := range tests {
		c := s.dial(t)
		c.send(tt.in)
		if tt.end {
			_ = c.CloseWrite()
		}
		good := s.dial(t)
		good.send(announcing, get("/"))
		if got := good.answer(); !strings.HasPrefix(got, "200 192.0.2.7") {
			t.Errorf("beside %q: got %s", tt.in, got)
		}
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
			t.Errorf("%q: got %q, %v", tt.in, rest, err)
		}
		eventually(t, "it is told", func() bool { mu.Lock(); defer mu.Unlock(); return len(told) == i+1 })
		mu.Lock()
		if !strings.Contains(told[i], tt.told) {
			t.Errorf("%q: told %s, want %s", tt.in, told[i], tt.told)
		}
		mu.Unlock()
	}
	if s.BadHeaders() != uint64(len(tests)) || s.handled.Load() != int64(len(tests)) || s.refused.Load() != 0 {
		t.Errorf("counted %d, handled %d, refused %d", s.BadHeaders(), s.handled.Load(), s.refused.Load())
	}
}

// TestC10_Strangers: who is not meant to name clients is refused, header or not,
// over TLS as well.
func TestC10_Strangers(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {Credentials: credentials(t, certificatetest.NewAuthority(t).Issue(t))}} {
		var mu sync.Mutex
		var told error
		o.Announcers, o.OnRefused = faraway, func(_ netip.AddrPort, err error) {
			mu.Lock()
			defer mu.Unlock()
			told = err
		}
		s := serve(t, o, who)
		c := s.dial(t)
		_, _ = io.WriteString(c, announcing+get("/")) // may be refused already
		if rest, _ := io.ReadAll(c.r); len(rest) > 0 {
			t.Errorf("a stranger gets %q", rest)
		}
		eventually(t, "it is counted and told", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return s.Strangers() == 1 && told != nil
		})
		mu.Lock()
		if !errors.Is(told, ErrStranger) || s.Accepted() != 0 || s.Open() != 0 {
			t.Errorf("told %v; accepted %d", told, s.Accepted())
		}
		mu.Unlock()
	}
}

// TestC13_AnnouncedTotals: all connections count from accept on, and for the client
// once it is known; the balancer's address counts for nobody.
func TestC13_AnnouncedTotals(t *testing.T) {
	t.Parallel()
	ca := certificatetest.NewAuthority(t)
	for _, over := range []*Credentials{nil, credentials(t, ca.Issue(t, "a.example.com"))} {
		totals := NewTotals(4, 1)
		s := serve(t, Options{Announcers: loopback, Totals: totals, Credentials: over}, who)
		ask := func(client string) (*client, string) {
			c := s.dial(t)
			c.send("PROXY TCP4 " + client + " 198.51.100.1 4711 443\r\n")
			if over != nil {
				c.secure = tls.Client(c.TCPConn, &tls.Config{RootCAs: ca.Pool, ServerName: "a.example.com"})
				if err := c.secure.Handshake(); err != nil {
					return c, "closed"
				}
				c.w = c.secure
				c.r.Reset(c.secure)
			}
			c.send(get("/"))
			return c, c.code()
		}
		first, got := ask("192.0.2.1")
		if got != "200" {
			t.Errorf("the first: %s", got)
		}
		want := "429"
		if over != nil {
			want = "closed"
		}
		if _, got := ask("192.0.2.1"); got != want {
			t.Errorf("the second of one client: %s", got)
		}
		eventually(t, "it is gone", func() bool { return totals.Open() == 1 })
		if _, got := ask("192.0.2.2"); got != "200" {
			t.Errorf("another client: %s", got)
		}
		silent := []*client{s.dial(t), s.dial(t)}
		eventually(t, "all are counted", func() bool { return totals.Open() == 4 })
		c := s.dial(t)
		if rest, err := io.ReadAll(c.r); over == nil && !strings.Contains(string(rest), "503") || err != nil {
			t.Errorf("one too many in all: %q, %v", rest, err)
		}
		_ = silent[0].Close()
		_ = first.Close()
		eventually(t, "two have left", func() bool { return totals.Open() == 2 })
		if _, got := ask("192.0.2.1"); got != "200" {
			t.Errorf("the first client again: %s", got)
		}
		if s.RefusedPerIP() != 1 || s.RefusedFull() != 1 {
			t.Errorf("refused %d and %d", s.RefusedPerIP(), s.RefusedFull())
		}
	}
}

// TestAnnouncedDrain: one that has sent nothing yet is idle; one whose header is
// coming is not, and ends with all others.
func TestAnnouncedDrain(t *testing.T) {
	t.Parallel()
	totals := NewTotals(0, 1)
	s := serve(t, Options{Announcers: loopback, Totals: totals}, who)
	c := s.dial(t)
	silent := s.dial(t)
	c.send("PROXY")
	eventually(t, "both are there", func() bool {
		n := 0
		for _, c := range s.connections() {
			if c.lookNow() == socket.Bytes {
				n++
			}
		}
		return s.Open() == 2 && n == 1
	})
	if n := s.CloseIdle(0); n != 1 {
		t.Errorf("%d are closed as idle", n)
	}
	silent.ends()
	s.CloseAll()
	if rest, _ := io.ReadAll(c.r); len(rest) > 0 {
		t.Errorf("got %q", rest)
	}
	eventually(t, "nobody is counted any more", func() bool { return totals.Open() == 0 })
	if s.BadHeaders() != 0 {
		t.Errorf("counted %d", s.BadHeaders())
	}
}

func TestConnOf(t *testing.T) {
	t.Parallel()
	c := &Conn{}
	if ConnOf(c) != c || ConnOf(&SecureConn{c}) != c || ConnOf(&announcedConn{Conn: c}) != c || ConnOf(nil) != nil {
		t.Error("not the connection that was wrapped")
	}
	if got := (&SecureConn{c}).ConnectionState(); got.HandshakeComplete {
		t.Errorf("before the handshake: %v", got)
	}
}
