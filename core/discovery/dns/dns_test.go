package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/discovery"
	"github.com/suuupra/gateway/core/discovery/dns"
	"github.com/suuupra/gateway/core/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a real name server on loopback, over UDP and TCP at one port.
type server struct {
	address string

	mu    sync.Mutex
	zone  map[string][]string // "name TYPE" → records in the format of zone files
	rcode map[string]int      // by the same key
	hook  func(w mdns.ResponseWriter, m *mdns.Msg) bool
	asked map[string]int
	tcp   int
}

func serve(t testing.TB) *server {
	t.Helper()
	s := &server{zone: map[string][]string{}, rcode: map[string]int{}, asked: map[string]int{}}
	for range 20 { // another program may have the port of one kind
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", packets.LocalAddr().String())
		if err != nil {
			_ = packets.Close()
			continue
		}
		s.address = packets.LocalAddr().String()
		var running sync.WaitGroup
		for _, one := range []*mdns.Server{{PacketConn: packets, Handler: s}, {Listener: listener, Handler: s}} {
			started := make(chan struct{})
			one.NotifyStartedFunc = func() { close(started) }
			running.Go(func() { _ = one.ActivateAndServe() })
			<-started
			t.Cleanup(func() { _ = one.Shutdown() })
		}
		t.Cleanup(func() { // runs before the others
			s.set(func() { s.hook = nil })
		})
		return s
	}
	t.Fatal("no port is free over UDP and TCP")
	return nil
}

// set changes the zone.
func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// put sets the records of one key.
func (s *server) put(key string, records ...string) { s.set(func() { s.zone[key] = records }) }

// ServeDNS answers from the zone; names that it knows in no type don't exist.
func (s *server) ServeDNS(w mdns.ResponseWriter, m *mdns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := m.Question[0]
	key := strings.ToLower(q.Name) + " " + mdns.TypeToString[q.Qtype]
	s.asked[key]++
	overTCP := w.LocalAddr().Network() == "tcp"
	if overTCP {
		s.tcp++
	}
	if s.hook != nil && s.hook(w, m) {
		return
	}
	answer := new(mdns.Msg).SetReply(m)
	answer.Rcode = s.rcode[key]
	answer.Answer = s.records(q.Name, mdns.TypeToString[q.Qtype])
	if len(answer.Answer) == 0 && answer.Rcode == 0 && !s.exists(q.Name) {
		answer.Rcode = mdns.RcodeNameError
	}
	if opt := m.IsEdns0(); !overTCP && opt != nil {
		answer.Truncate(int(opt.UDPSize()))
	}
	_ = w.WriteMsg(answer)
}

// records goes after aliases, as recursive servers do.
func (s *server) records(name, kind string) (out []mdns.RR) {
	for range 20 {
		for _, text := range s.zone[strings.ToLower(name)+" "+kind] {
			out = append(out, parse(text))
		}
		alias := s.zone[strings.ToLower(name)+" CNAME"]
		if len(alias) == 0 || kind == "CNAME" {
			return out
		}
		rr := parse(alias[0])
		out, name = append(out, rr), rr.(*mdns.CNAME).Target
	}
	return out
}

func parse(text string) mdns.RR {
	rr, err := mdns.NewRR(text)
	if err != nil || rr == nil {
		panic(fmt.Sprintf("%q: %v", text, err))
	}
	return rr
}

func (s *server) exists(name string) bool {
	for key := range s.zone {
		if strings.HasPrefix(key, strings.ToLower(name)+" ") {
			return true
		}
	}
	return false
}

var host = upstream.Discovery{Source: dns.Name, Name: "app.test", Port: 8080}
var service = upstream.Discovery{Source: dns.Name, Name: "_http._tcp.app.test"}

// open asks s for d.
func (s *server) open(d upstream.Discovery) discovery.Query {
	return dns.New(dns.Options{Servers: []string{s.address}}).Open(d)
}

// next wants an answer, and returns it as text.
func next(t testing.TB, q discovery.Query) (string, time.Duration) {
	t.Helper()
	a, err := q.Next(context.Background(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return written(a.Endpoints), a.Again
}

func written(endpoints []upstream.EndpointSpec) string {
	var lines []string
	for _, e := range endpoints {
		lines = append(lines, fmt.Sprintf("%s %s %d", e.Address, e.HostHeader, e.Weight))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// fails wants an error of that kind.
func fails(t testing.TB, q discovery.Query, kind discovery.Kind) {
	t.Helper()
	a, err := q.Next(context.Background(), time.Minute)
	var e *discovery.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Errorf("answer %v, error %v; want one of kind %s", a, err, kind)
	}
}

func want(t testing.TB, got string, lines ...string) {
	t.Helper()
	if want := strings.Join(lines, "\n"); got != want {
		t.Errorf("found\n%s\nwant\n%s", got, want)
	}
}

func TestAddressesOfAHost(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.put("app.test. A", "app.test. 20 A 10.0.0.1", "app.test. 7 A 10.0.0.2", "app.test. 20 A 10.0.0.1", "other.test. 1 A 10.9.9.9")
	s.put("app.test. AAAA", "app.test. 30 AAAA fd00::1")
	q := s.open(host)
	got, again := next(t, q)
	want(t, got, "10.0.0.1:8080 app.test:8080 1", "10.0.0.1:8080 app.test:8080 1", "10.0.0.2:8080 app.test:8080 1", "[fd00::1]:8080 app.test:8080 1")
	if again != 7*time.Second {
		t.Errorf("asked again after %v, want the shortest TTL", again)
	}
	s.set(func() {
		s.zone["app.test. A"] = []string{"app.test. 0 A 10.0.0.3"}
		delete(s.zone, "app.test. AAAA")
	})
	got, again = next(t, q)
	want(t, got, "10.0.0.3:8080 app.test:8080 1")
	if again != time.Second {
		t.Errorf("a TTL of 0: asked again after %v, want the minimum", again)
	}
	s.set(func() {
		s.zone["app.test. A"] = []string{"app.test. 864000 A 10.0.0.3"}
		s.zone["app.test. AAAA"] = []string{"app.test. 864000 AAAA fd00::1"}
	})
	if _, again = next(t, q); again != 5*time.Minute {
		t.Errorf("a TTL of ten days: asked again after %v, want the maximum", again)
	}
}

// TestFailuresKeepFamiliesApart: what one family knew stays while nobody answers for it.
func TestFailuresKeepFamiliesApart(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.put("app.test. A", "app.test. 20 A 10.0.0.1")
	s.put("app.test. AAAA", "app.test. 30 AAAA fd00::1")
	q := s.open(host)
	next(t, q)
	s.set(func() {
		s.zone["app.test. A"] = []string{"app.test. 20 A 10.0.0.2"}
		s.rcode["app.test. AAAA"], s.zone["app.test. AAAA"] = mdns.RcodeServerFailure, nil
	})
	got, again := next(t, q)
	want(t, got, "10.0.0.2:8080 app.test:8080 1", "[fd00::1]:8080 app.test:8080 1")
	if again != time.Second {
		t.Errorf("asked again after %v", again)
	}
	s.set(func() { s.rcode["app.test. A"], s.zone["app.test. A"] = mdns.RcodeRefused, nil })
	fails(t, q, discovery.Denied) // nobody answers: what is known of both is no news
	s.set(func() { s.rcode["app.test. AAAA"], s.zone["app.test. TXT"] = 0, []string{`app.test. 1 TXT "x"`} })
	fails(t, q, discovery.Denied) // the one that could not be asked for explains more
	s.set(func() { s.rcode["app.test. A"] = 0 })
	fails(t, q, discovery.Empty)
	s.set(func() { clear(s.zone) })
	fails(t, q, discovery.Absent)
}

func TestServices(t *testing.T) {
	t.Parallel()
	s := serve(t)
	srv := "_http._tcp.app.test. SRV"
	s.put(srv,
		"_http._tcp.app.test. 30 SRV 10 60 9001 A.app.test.", "_http._tcp.app.test. 30 SRV 10 0 9002 b.app.test.",
		"_http._tcp.app.test. 30 SRV 10 5 9003 nowhere.app.test.", "_http._tcp.app.test. 30 SRV 10 5 0 a.app.test.",
		"_http._tcp.app.test. 30 SRV 20 5 9004 spare.app.test.",
	)
	s.put("a.app.test. A", "a.app.test. 12 A 10.0.0.1")
	s.put("b.app.test. AAAA", "b.app.test. 40 AAAA fd00::2")
	q := s.open(service)
	got, again := next(t, q)
	want(t, got, "10.0.0.1:9001 a.app.test:9001 60", "[fd00::2]:9002 b.app.test:9002 0")
	if again != 12*time.Second {
		t.Errorf("asked again after %v, want the shortest TTL of all", again)
	}
	s.set(func() {
		if s.asked["spare.app.test. A"] != 0 {
			t.Error("a host of less preference was asked for")
		}
	})
	s.set(func() { s.rcode["b.app.test. AAAA"], s.zone["b.app.test. AAAA"] = mdns.RcodeServerFailure, nil })
	got, _ = next(t, q)
	want(t, got, "10.0.0.1:9001 a.app.test:9001 60", "[fd00::2]:9002 b.app.test:9002 0")
	s.set(func() {
		s.rcode["a.app.test. A"], s.rcode["a.app.test. AAAA"] = mdns.RcodeServerFailure, mdns.RcodeServerFailure
	})
	fails(t, q, discovery.Broken)
	s.set(func() { s.zone[srv] = []string{"_http._tcp.app.test. 30 SRV 10 5 9003 nowhere.app.test."} })
	fails(t, q, discovery.Absent)
	s.set(func() { s.zone[srv] = []string{"_http._tcp.app.test. 30 SRV 0 0 0 ."} })
	fails(t, q, discovery.Empty)
	s.set(func() { s.rcode[srv], s.zone[srv] = mdns.RcodeServerFailure, nil })
	fails(t, q, discovery.Broken)
}

// TestThousandRecords come over TCP, for no datagram holds them.
func TestThousandRecords(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.mu.Lock()
	for i := range 1000 {
		name := fmt.Sprintf("h%d.app.test.", i)
		s.zone["_http._tcp.app.test. SRV"] = append(s.zone["_http._tcp.app.test. SRV"], fmt.Sprintf("_http._tcp.app.test. 60 SRV 1 1 80 %s", name))
		s.zone[name+" A"] = []string{fmt.Sprintf("%s 60 A 10.1.%d.%d", name, i/250, i%250+1)}
		s.zone["app.test. A"] = append(s.zone["app.test. A"], fmt.Sprintf("app.test. 60 A 10.1.%d.%d", i/250, i%250+1))
	}
	s.mu.Unlock()
	for _, d := range []upstream.Discovery{host, service} {
		got, _ := next(t, s.open(d))
		if n := strings.Count(got, "\n") + 1; n != 1000 {
			t.Errorf("%v: %d endpoints, want 1000", d, n)
		}
	}
	s.set(func() {
		if s.tcp != 2 {
			t.Errorf("%d questions over TCP, want one for each long answer", s.tcp)
		}
	})
}

func TestAliases(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.put("app.test. CNAME", "app.test. 9 CNAME one.test.")
	s.put("one.test. CNAME", "one.test. 90 CNAME TWO.test.")
	s.put("two.test. A", "two.test. 90 A 10.0.0.1")
	got, again := next(t, s.open(host))
	want(t, got, "10.0.0.1:8080 app.test:8080 1")
	if again != 9*time.Second {
		t.Errorf("asked again after %v, want the TTL of the alias", again)
	}
	t.Run("of servers that don't go after them", func(t *testing.T) {
		s.set(func() {
			s.hook = func(w mdns.ResponseWriter, m *mdns.Msg) bool {
				name := strings.ToLower(m.Question[0].Name)
				if len(s.zone[name+" CNAME"]) == 0 {
					return false
				}
				answer := new(mdns.Msg).SetReply(m)
				answer.Answer = []mdns.RR{parse(s.zone[name+" CNAME"][0])}
				_ = w.WriteMsg(answer)
				return true
			}
		})
		got, _ := next(t, s.open(host))
		want(t, got, "10.0.0.1:8080 app.test:8080 1")
	})
	for name, records := range map[string][]string{
		"of themselves":  {"app.test. 9 CNAME app.test."},
		"in a circle":    {"app.test. 9 CNAME one.test.", "one.test. 9 CNAME app.test."},
		"in a long line": {"app.test. 9 CNAME a0.test.", "a0.test. 9 CNAME a1.test.", "a1.test. 9 CNAME a2.test.", "a2.test. 9 CNAME a3.test.", "a3.test. 9 CNAME a4.test.", "a4.test. 9 CNAME a5.test.", "a5.test. 9 CNAME a6.test.", "a6.test. 9 CNAME a7.test.", "a7.test. 9 CNAME two.test."},
	} {
		for _, recursive := range []bool{true, false} {
			s.set(func() {
				if recursive {
					s.hook = nil
				}
				for _, text := range records {
					s.zone[parse(text).Header().Name+" CNAME"] = []string{text}
				}
			})
			t.Run(name, func(t *testing.T) { fails(t, s.open(host), discovery.Nonsense) })
		}
	}
	s.set(func() {
		s.zone["app.test. CNAME"] = []string{"app.test. 9 CNAME gone.test."}
	})
	fails(t, s.open(host), discovery.Absent)
}

// TestForgedAnswers are passed over, be it by their id or by what they answer.
func TestForgedAnswers(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.put("app.test. A", "app.test. 20 A 10.0.0.1")
	forge := func(change func(answer *mdns.Msg)) func(mdns.ResponseWriter, *mdns.Msg) bool {
		return func(w mdns.ResponseWriter, m *mdns.Msg) bool {
			answer := new(mdns.Msg).SetReply(m)
			if m.Question[0].Qtype == mdns.TypeA {
				answer.Answer = []mdns.RR{parse("app.test. 600 A 10.6.6.6")}
			}
			change(answer)
			_ = w.WriteMsg(answer)
			return false
		}
	}
	s.set(func() { s.hook = forge(func(answer *mdns.Msg) { answer.Id++ }) })
	got, _ := next(t, s.open(host))
	want(t, got, "10.0.0.1:8080 app.test:8080 1")
	for name, change := range map[string]func(*mdns.Msg){
		"another name":     func(a *mdns.Msg) { a.Question[0].Name = "evil.test." },
		"another type":     func(a *mdns.Msg) { a.Question[0].Qtype = mdns.TypeTXT },
		"no question":      func(a *mdns.Msg) { a.Question = nil },
		"no answer at all": func(a *mdns.Msg) { a.Response = false },
	} {
		s.set(func() { s.hook = forge(change) })
		t.Run(name, func(t *testing.T) { fails(t, s.open(host), discovery.Nonsense) })
	}
	s.set(func() {
		s.hook = func(w mdns.ResponseWriter, m *mdns.Msg) bool { _, _ = w.Write([]byte("<html>")); return true }
	})
	fails(t, s.open(host), discovery.Nonsense)
	s.set(func() {
		s.hook = func(w mdns.ResponseWriter, m *mdns.Msg) bool {
			answer := new(mdns.Msg).SetReply(m)
			answer.Truncated = true
			_ = w.WriteMsg(answer)
			return true
		}
	})
	fails(t, s.open(host), discovery.Nonsense) // truncated over TCP as well
}

// TestNobodyAnswers: a dead server costs its timeouts, one beside it answers, and whoever
// stops does not wait.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.put("app.test. A", "app.test. 20 A 10.0.0.1")
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := nobody.LocalAddr().String()
	_ = nobody.Close()
	got, _ := next(t, dns.New(dns.Options{Servers: []string{refusing, s.address}}).Open(host))
	want(t, got, "10.0.0.1:8080 app.test:8080 1")
	fails(t, dns.New(dns.Options{Servers: []string{refusing}}).Open(host), discovery.Unreachable)

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := dns.New(dns.Options{Servers: []string{silent.LocalAddr().String()}}).Open(host).Next(ctx, 0); err == nil {
		t.Error("an answer came from nobody")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v to stop", took)
	}
}

// TestSystemsNameServers are read from a file, with its search list, each time.
func TestSystemsNameServers(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ip, port, _ := net.SplitHostPort(s.address)
	file := filepath.Join(t.TempDir(), "resolv.conf")
	q := dns.New(dns.Options{ResolvConf: file}).Open(upstream.Discovery{Source: dns.Name, Name: "app.space", Port: 80})
	fails(t, q, discovery.Broken) // no file
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("search nowhere.test cluster.test\n")
	fails(t, q, discovery.Broken) // no server
	s.put("app.space.cluster.test. A", "app.space.cluster.test. 20 A 10.0.0.1")
	write("nameserver " + ip + "\nsearch nowhere.test cluster.test\noptions ndots:5\n")
	fails(t, q, discovery.Unreachable) // that is port 53
	q = dns.OpenAtPort(file, port, upstream.Discovery{Source: dns.Name, Name: "app.space", Port: 80})
	got, _ := next(t, q)
	want(t, got, "10.0.0.1:80 app.space:80 1")
	write("nameserver " + ip + "\nsearch nowhere.test\n")
	fails(t, q, discovery.Absent)
	s.set(func() { s.zone["app.space. TXT"] = []string{`app.space. 1 TXT "x"`} })
	fails(t, q, discovery.Empty)
	s.set(func() {
		s.rcode["app.space. A"], s.zone["app.space.nowhere.test. A"] = mdns.RcodeServerFailure, []string{"app.space.nowhere.test. 20 A 10.6.6.6"}
	})
	fails(t, q, discovery.Broken) // a name further down the list is another name
}
