package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// patience is how long a process may take for what must come.
const patience = 60 * time.Second

// process starts a program that ends with the test, if nobody has ended it before.
func process(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(filepath.Join(binaries, name), args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c
}

func begin(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatalf("starting %v: %v", c.Args, err)
	}
	t.Cleanup(func() { end(c) })
}

// end kills a process, and waits until it is gone. A second call does nothing.
func end(c *exec.Cmd) {
	if c.ProcessState == nil {
		_ = c.Process.Kill() // it may have ended by itself
		_ = c.Wait()         // it was killed
	}
}

// eventually polls until so is true.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v later it is not so: %s", patience, what)
		}
	}
}

// freeAddress is an address of loopback below the ports of outgoing connections, which
// could take it while its process is away.
func freeAddress(t *testing.T) string {
	t.Helper()
	for port := 21_000 + os.Getpid()%5_000; port < 32_000; port++ {
		taken.Lock()
		again := taken.ports[port]
		taken.ports[port] = true
		taken.Unlock()
		if again {
			continue
		}
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// endpoint is one address of a service, and the process behind it.
type endpoint struct {
	t       *testing.T
	address string // that the gateway knows
	listen  string // that the process listens at; another one where a network lies between
	origin  *exec.Cmd
	network *toxiproxy.Proxy // nil: none
	blocked []int            // sockets of block
}

// newEndpoint starts an endpoint, if distant, behind a network that can be broken.
func newEndpoint(t *testing.T, distant bool) *endpoint {
	t.Helper()
	e := &endpoint{t: t, listen: freeAddress(t)}
	e.address = e.listen
	if distant {
		e.address = freeAddress(t)
		e.network = toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "network", e.address, e.listen)
		if err := e.network.Start(); err != nil {
			t.Fatalf("starting the network: %v", err)
		}
		t.Cleanup(e.network.Stop)
	}
	e.start()
	return e
}

// start starts the process, and waits until it listens.
func (e *endpoint) start(flags ...string) {
	e.t.Helper()
	e.origin = process(e.t, "origin", append([]string{"-listen", e.listen}, flags...)...)
	begin(e.t, e.origin)
	eventually(e.t, "the endpoint listens", func() bool {
		c, err := net.Dial("tcp", e.listen)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

// replace kills the process, as an orchestrator does, and starts another one.
func (e *endpoint) replace(flags ...string) {
	end(e.origin)
	e.start(flags...)
}

func (e *endpoint) signal(s syscall.Signal) {
	if err := e.origin.Process.Signal(s); err != nil {
		e.t.Errorf("signalling an endpoint: %v", err)
	}
}

// toxic breaks the network, in the terms of toxiproxy's API.
func (e *endpoint) toxic(text string) {
	if _, err := e.network.Toxics.AddToxicJson(strings.NewReader(text)); err != nil {
		e.t.Errorf("%s: %v", text, err)
	}
}

// gateway is a running gateway.
type gateway struct {
	t             *testing.T
	public, admin string
	cmd           *exec.Cmd
	log           *os.File
}

// newGateway starts a gateway with services and routes.
func newGateway(t *testing.T, yaml string) *gateway {
	t.Helper()
	dir := t.TempDir()
	g := &gateway{t: t, public: freeAddress(t), admin: freeAddress(t)}
	file := filepath.Join(dir, "gateway.yaml")
	text := fmt.Sprintf("listen: {public: {address: %q}}\nadmin: {address: %q}\ndirectory: state\ndefaults: {plugins: {auth: off}}\n", g.public, g.admin) + yaml
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if g.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.log.Close() })
	g.cmd = process(t, "gateway", "serve", "-c", file)
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	begin(t, g.cmd)
	eventually(t, "the gateway is ready", func() bool {
		resp, err := http.Get("http://" + g.admin + "/readyz")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	return g
}

// said is the end of the gateway's log.
func (g *gateway) said() string {
	text, err := os.ReadFile(g.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// metrics is /metrics.
func (g *gateway) metrics() (string, error) {
	resp, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(resp.Body)
	if closing := resp.Body.Close(); err == nil {
		err = closing
	}
	return string(text), err
}

// load is what is used of the report of bench/load.
type load struct {
	Sent        int64             `json:"sent"`
	Failed      int64             `json:"failed"`
	FirstFailed float64           `json:"first_failed_ms"`
	LastFailed  float64           `json:"last_failed_ms"`
	Began       time.Time         `json:"began"`
	Held        float64           `json:"held_ms"`
	Examples    map[string]string `json:"examples"`
	Latency     struct {
		P50 float64 `json:"p50"`
		P99 float64 `json:"p99"`
	} `json:"latency_ms"`
}

// lastFailure is when the last request failed; zero if none did.
func (l *load) lastFailure() time.Time {
	if l.Failed == 0 {
		return time.Time{}
	}
	return l.Began.Add(time.Duration(l.LastFailed * float64(time.Millisecond)))
}

// underLoad sends GET requests for path at rate for d, and meanwhile carries change out.
func (g *gateway) underLoad(path string, rate float64, d time.Duration, change func()) *load {
	g.t.Helper()
	// Each request that waits for a try at a silent endpoint holds a connection; a third of a
	// high rate does so for half a second.
	connections := 64
	if rate > 1000 {
		connections = int(rate) / 2
	}
	c := process(g.t, "load", "-url", "http://"+g.public+path, "-rate", fmt.Sprint(rate), "-connections", strconv.Itoa(connections),
		"-warmup", "0s", "-duration", d.String(), "-timeout", "10s")
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	begin(g.t, c)
	change()
	_ = c.Wait() // code 1 tells that requests failed, as the report does
	l := &load{}
	if err := json.Unmarshal(out.Bytes(), l); err != nil {
		g.t.Fatalf("the report of the load: %v\n%s%s\nthe gateway said %s", err, &out, &errOut, g.said())
	}
	return l
}
