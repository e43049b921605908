package endtoend

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// names is a name server on loopback, over UDP and TCP at one port, which can die and come
// back there.
type names struct {
	t       *testing.T
	address string
	servers []*mdns.Server
	running sync.WaitGroup

	mu   sync.Mutex
	zone map[string][]string // "name TYPE" → records in the format of zone files
	tcp  int                 // questions
}

func newNames(t *testing.T) *names {
	t.Helper()
	n := &names{t: t, zone: make(map[string][]string)}
	n.start()
	t.Cleanup(n.stop)
	return n
}

// start listens at a port that is free for both, or at the same one again.
func (n *names) start() {
	n.t.Helper()
	address := n.address
	if address == "" {
		address = fmt.Sprintf("127.0.0.1:%d", freePorts(n.t, 1))
	}
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.address, n.servers = address, []*mdns.Server{{PacketConn: packets, Handler: n}, {Listener: listener, Handler: n}}
	for _, s := range n.servers {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		n.running.Go(func() { _ = s.ActivateAndServe() }) // ended by stop
		<-started
	}
}

// stop ends both. A second call does nothing.
func (n *names) stop() {
	for _, s := range n.servers {
		_ = s.Shutdown()
	}
	n.running.Wait()
	n.servers = nil
}

// put sets the records of one key; none: the name is gone.
func (n *names) put(key string, records ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.zone[key] = records
}

// ServeDNS answers from the zone. What has no records does not exist.
func (n *names) ServeDNS(w mdns.ResponseWriter, m *mdns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := m.Question[0]
	answer := new(mdns.Msg).SetReply(m)
	for _, text := range n.zone[strings.ToLower(q.Name)+" "+mdns.TypeToString[q.Qtype]] {
		rr, err := mdns.NewRR(text)
		if err != nil {
			n.t.Errorf("%q: %v", text, err)
			continue
		}
		answer.Answer = append(answer.Answer, rr)
	}
	if len(answer.Answer) == 0 && q.Qtype != mdns.TypeAAAA {
		answer.Rcode = mdns.RcodeNameError
	}
	if w.LocalAddr().Network() == "tcp" {
		n.tcp++
	} else if opt := m.IsEdns0(); opt != nil {
		answer.Truncate(int(opt.UDPSize()))
	} else {
		answer.Truncate(mdns.MinMsgSize)
	}
	_ = w.WriteMsg(answer) // whoever asked may be gone
}

// overTCP is how many questions came over TCP.
func (n *names) overTCP() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.tcp
}

// samePort starts endpoints called one, two and so on, at one port of several addresses of
// loopback.
func samePort(t *testing.T, called ...string) (port int) {
	t.Helper()
	port = freePorts(t, 1)
	for i, name := range called {
		named(t, name, fmt.Sprintf("127.0.0.%d:%d", i+1, port))
	}
	return port
}

// TestNames: the built gateway and a real name server. Addresses and services come and go
// as their time to live says, a long answer is fetched over TCP, and neither an answer that
// there is nothing nor the server's death costs a request.
func TestNames(t *testing.T) {
	t.Parallel()
	const (
		ttl   = time.Second
		slack = time.Second
	)
	port := samePort(t, "one", "two")
	dns := newNames(t)
	dns.put("app.test. A", "app.test. 1 A 127.0.0.1")
	first := fmt.Sprintf("_http._tcp.app.test. 1 SRV 10 1 %d one.test.", named(t, "first", "127.0.0.1:0").Port)
	second := fmt.Sprintf("_http._tcp.app.test. 1 SRV 10 1 %d one.test.", named(t, "second", "127.0.0.1:0").Port)
	third := fmt.Sprintf("_http._tcp.app.test. 1 SRV 10 1 %d one.test.", named(t, "third", "127.0.0.1:0").Port)
	dns.put("one.test. A", "one.test. 1 A 127.0.0.1")
	dns.put("_http._tcp.app.test. SRV", first)
	s := serveFile(t, fmt.Sprintf(`
directory: state
shutdown: {delay: 0s}
discovery: {dns: {resolver: %q}}
services:
  addresses: {dns: {host: app.test, port: %d}, retry: off}
  records: {dns: {srv: _http._tcp.app.test}, retry: off}
routes:
  addresses: {match: {path: /addresses}, service: addresses}
  records: {match: {path: /records}, service: records}
defaults: {plugins: {auth: off, access_log: off}}
`, dns.address, port))
	addresses := sendTo(t, "http://"+s.public+"/addresses", 2, 10*time.Millisecond)
	records := sendTo(t, "http://"+s.public+"/records", 2, 10*time.Millisecond)

	var came, left [2][]time.Duration
	for range 3 {
		began := time.Now()
		dns.put("app.test. A", "app.test. 1 A 127.0.0.1", "app.test. 1 A 127.0.0.2")
		dns.put("_http._tcp.app.test. SRV", first, second)
		came[0] = append(came[0], addresses.appears(t, "two", began))
		came[1] = append(came[1], records.appears(t, "second", began))
		began = time.Now()
		dns.put("app.test. A", "app.test. 1 A 127.0.0.1")
		dns.put("_http._tcp.app.test. SRV", first)
		left[0] = append(left[0], addresses.disappears(t, "two", began))
		left[1] = append(left[1], records.disappears(t, "second", began))
	}
	for i, kind := range []string{"an address", "a record of a service"} {
		within(t, kind+" in use", ttl+slack, came[i])
		within(t, kind+" out of use", ttl+slack, left[i])
	}

	if n := dns.overTCP(); n != 0 {
		t.Errorf("%d questions over TCP, though all answers are short", n)
	}
	long := []string{first, second}
	for i := range 60 { // of less preference, so that nobody is sent there
		long = append(long, fmt.Sprintf("_http._tcp.app.test. 1 SRV 20 1 80 spare-with-a-long-name-%d.app.test.", i))
	}
	began := time.Now()
	dns.put("_http._tcp.app.test. SRV", long...)
	t.Logf("a record in use after %v, of an answer that no datagram holds", records.appears(t, "second", began))
	if dns.overTCP() == 0 {
		t.Error("no question came over TCP")
	}

	dns.put("app.test. A")
	s.troubled("absent")
	dns.stop()
	died := time.Now()
	s.troubled("unreachable")
	records.appears(t, "second", died.Add(5*ttl)) // which nobody has confirmed for five times its life
	dns.put("_http._tcp.app.test. SRV", first, third)
	dns.put("app.test. A", "app.test. 1 A 127.0.0.2")
	dns.start()
	began = time.Now()
	t.Logf("%v after the name server was back, a new record was in use", records.appears(t, "third", began))
	addresses.disappears(t, "one", began)
	gatewaytest.Eventually(t, "/health is well", func() bool { return strings.Contains(s.health(t), `"discovery":true`) })
	addresses.end()
	records.end()
}
