package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// fault is one way in which the network to an endpoint fails.
type fault struct {
	name string
	// toxic is what toxiproxy does to all bytes from then on; "" stops it altogether:
	// connections close, and further ones are refused.
	toxic string
	// midway faults strike when a part of the transfer is through, the others before
	// the request is sent.
	midway bool
	// silent faults leave the gateway nothing but its timeouts, so those are short.
	silent bool
	// failover gives the service a second endpoint, which is well.
	failover bool
}

// What toxiproxy does, in the terms of its API. Downstream is what comes from the
// service, upstream what goes to it.
const (
	latency      = `"type":"latency","stream":"downstream","attributes":{"latency":40}`
	slowClose    = `"type":"slow_close","stream":"downstream","attributes":{"delay":40}`
	bandwidth    = `"type":"bandwidth","stream":"downstream","attributes":{"rate":400}`
	slicer       = `"type":"slicer","stream":"downstream","attributes":{"average_size":40,"size_variation":20,"delay":20}`
	slicedUp     = `"type":"slicer","stream":"upstream","attributes":{"average_size":40,"size_variation":20,"delay":20}`
	resetAnswer  = `"type":"reset_peer","stream":"downstream","attributes":{"timeout":0}`
	resetRequest = `"type":"reset_peer","stream":"upstream","attributes":{"timeout":0}`
	noAnswer     = `"type":"timeout","stream":"downstream","attributes":{"timeout":0}`
	noRequest    = `"type":"timeout","stream":"upstream","attributes":{"timeout":0}`
	cutInHead    = `"type":"limit_data","stream":"downstream","attributes":{"bytes":20}`
	cutInBody    = `"type":"limit_data","stream":"downstream","attributes":{"bytes":150}`
	thinRequest  = `"type":"bandwidth","stream":"upstream","attributes":{"rate":400}`
	cutRequest   = `"type":"limit_data","stream":"upstream","attributes":{"bytes":30}`
	down         = ""
)

// network is what lies between the gateway and an endpoint.
type network struct {
	t        testing.TB
	server   *toxiproxy.ApiServer
	endpoint string
	address  string // the same for all its life
	proxy    *toxiproxy.Proxy
}

// newNetwork takes an address of its own: on 127.0.0.1 somebody else could be given
// the port while it is down.
func newNetwork(t testing.TB, endpoint string) *network {
	t.Helper()
	n := &network{
		t: t, endpoint: endpoint,
		server:  toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		address: fmt.Sprintf("127.%d.%d.%d:0", 64+rand.IntN(128), rand.IntN(256), 1+rand.IntN(254)),
	}
	n.start()
	n.address = n.proxy.Listen
	t.Cleanup(func() { n.proxy.Stop() })
	return n
}

func (n *network) start() {
	n.t.Helper()
	n.proxy = toxiproxy.NewProxy(n.server, "network", n.address, n.endpoint)
	if err := n.proxy.Start(); err != nil {
		n.t.Fatalf("starting the network: %v", err)
	}
}

// strike makes the fault happen.
func (n *network) strike(f *fault) {
	n.t.Helper()
	if f.toxic == down {
		n.proxy.Stop()
		gatewaytest.Eventually(n.t, "the gateway is told that its connections are closed", n.closed)
		return
	}
	n.add(`"name":"fault",` + f.toxic)
}

func (n *network) add(toxic string) {
	n.t.Helper()
	if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader("{" + toxic + "}")); err != nil {
		n.t.Fatalf("%s: %v", toxic, err)
	}
}

// prepare makes what a later reset needs: toxiproxy resets only connections that
// began while a toxic of this kind stood, be it one that does nothing.
func (n *network) prepare(f *fault) {
	if strings.Contains(f.toxic, "reset_peer") {
		n.add(`"name":"prepared","toxicity":0,` + resetAnswer)
	}
}

// closed says whether the other side of all that was accepted has been told of its
// end: a socket closes only when the last goroutine lets go of it.
func (n *network) closed() bool {
	const established, finWait1 = " 01 ", " 04 "
	address := netip.MustParseAddrPort(n.address)
	ip := address.Addr().As4()
	local := fmt.Sprintf(": %02X%02X%02X%02X:%04X ", ip[3], ip[2], ip[1], ip[0], address.Port())
	sockets, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(sockets)) {
		_, remote, found := strings.Cut(line, local)
		if found && (strings.Contains(remote[:min(len(remote), 20)], established) || strings.Contains(remote[:min(len(remote), 20)], finWait1)) {
			return false
		}
	}
	return true
}

// heal takes the fault away. Connections that came through it stay; where none
// did, what is left of them closes.
func (n *network) heal(keep bool) {
	n.t.Helper()
	if keep {
		n.proxy.Toxics.ResetToxics(context.Background())
		return
	}
	n.proxy.Stop()
	n.start()
}
