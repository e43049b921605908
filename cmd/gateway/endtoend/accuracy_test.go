//go:build !race

package endtoend

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/limit/limittest"
	"github.com/suuupra/gateway/core/testenv"
)

// The size of the proof (SPEC RL8).
const (
	instances = 4
	callers   = 64 // of each instance
	// runFor is how long a row's callers call.
	runFor = 4 * time.Second
	// thinking is the longest that a caller who was refused waits: 256 of them then ask
	// for more than the policies allow, and leave the machine to others.
	thinking = 160 * time.Millisecond
)

// crowd is the callers of all instances, and what was admitted to them.
type crowd struct {
	begun     time.Time
	addresses [instances]atomic.Pointer[string]
	stop      chan struct{}
	done      sync.WaitGroup

	mu       sync.Mutex
	admitted []limittest.Admission
	refused  int
	failed   int // 503, or no answer at all
}

func (c *crowd) begin() {
	c.begun, c.stop = time.Now(), make(chan struct{})
	for i := range instances * callers {
		c.done.Go(func() { c.call(&c.addresses[i%instances]) })
	}
}

func (c *crowd) end() {
	close(c.stop)
	c.done.Wait()
}

// span is the time from the first answer of an admission to the last: what flies in before
// the first request is charged meets a full bucket.
func (c *crowd) span() time.Duration {
	var last time.Duration
	first := time.Hour
	for _, a := range c.admitted {
		first, last = min(first, a.Answered), max(last, a.Answered)
	}
	return max(0, last-first)
}

// call is one caller: it keeps a connection, never asks again for what got no answer,
// and pauses at random.
func (c *crowd) call(address *atomic.Pointer[string]) {
	var conn net.Conn
	var answers *bufio.Reader
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-c.stop:
			if conn != nil {
				_ = conn.Close()
			}
			return
		case <-pause.C:
		}
		if conn == nil {
			var err error
			if conn, err = net.DialTimeout("tcp", *address.Load(), time.Second); err != nil {
				conn = nil
				pause.Reset(rand.N(thinking))
				continue
			}
			answers = bufio.NewReader(conn)
		}
		status := c.ask(conn, answers)
		if status == 0 {
			_ = conn.Close()
			conn = nil
		}
		if status == 200 {
			pause.Reset(0)
		} else {
			pause.Reset(rand.N(thinking))
		}
	}
}

// ask sends one request and counts its answer; 0 if none came.
func (c *crowd) ask(conn net.Conn, answers *bufio.Reader) (status int) {
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	sent := time.Since(c.begun)
	if _, err := conn.Write([]byte("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")); err == nil {
		if resp, err := http.ReadResponse(answers, nil); err == nil {
			if _, err := answers.Discard(int(resp.ContentLength)); err == nil {
				status = resp.StatusCode
			}
		}
	}
	answered := time.Since(c.begun)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch status {
	case 200:
		c.admitted = append(c.admitted, limittest.Admission{Sent: sent, Answered: answered, Cost: 1})
	case 429:
		c.refused++
	default:
		c.failed++
	}
	return status
}

// rig is the instances, the Redis that they share, and a network of its own for each.
type rig struct {
	t         *testing.T
	redis     *testenv.RedisServer
	networks  [instances]*toxiproxy.Proxy
	instances [instances]*served
	crowd     crowd
}

const rigYAML = `
listen: {public: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
shutdown: {delay: 0s}
telemetry: {log: {level: info}}
`

// limitsYAML is over a network of its own; mode and the policy come from the row.
const limitsYAML = `
stores: {redis: {addresses: "%s", timeout: %s}}
limiter: {mode: %s, on_store_error: %s}
policies: {p: %s}
routes: {a: {match: {path: /a}, respond: {status: 200, body: in}, plugins: {auth: off, rate_limit: {levels: {global: {policy: p}}}}}}
`

func newRig(t *testing.T, row *accuracyRow) *rig {
	t.Helper()
	r := &rig{t: t, redis: testenv.NewRedis(t)}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for i := range r.networks {
		r.networks[i] = toxiproxy.NewProxy(server, fmt.Sprintf("network%d", i), "127.0.0.1:0", r.redis.Address())
		if err := r.networks[i].Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.networks[i].Stop)
		r.start(i, row)
	}
	return r
}

// start starts an instance, or starts it again.
func (r *rig) start(i int, row *accuracyRow) {
	r.t.Helper()
	r.instances[i] = serveFiles(r.t, "rig.yaml", rigYAML, "gateway.yaml", fmt.Sprintf(limitsYAML, r.networks[i].Listen, row.timeout(), row.mode, row.onError, shown(&row.policy)))
	r.crowd.addresses[i].Store(&r.instances[i].public)
}

// crash kills an instance and starts another in its place.
func (r *rig) crash(i int, row *accuracyRow) {
	r.t.Helper()
	r.instances[i].signal(syscall.SIGKILL)
	r.instances[i].read.Wait()
	_ = r.instances[i].cmd.Wait()
	r.start(i, row)
}

// toxic stands in an instance's network for a while.
func (r *rig) toxic(i int, toxic string, during time.Duration) {
	r.t.Helper()
	const both = `{"name":"%s","type":%s}`
	for _, stream := range []string{"upstream", "downstream"} {
		if _, err := r.networks[i].Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(both, stream, toxic+`,"stream":"`+stream+`"`))); err != nil {
			r.t.Fatal(err)
		}
	}
	pass(during)
	for _, stream := range []string{"upstream", "downstream"} {
		if err := r.networks[i].Toxics.RemoveToxic(r.t.Context(), stream); err != nil {
			r.t.Fatal(err)
		}
	}
}

// pass lets time pass that is part of what is tested: a fault lasts, or does not.
func pass(d time.Duration) { <-time.After(d) }
