package endtoend

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// The flood is of so many logins at a time, each repeated once it was answered, but no
// sooner than floodEvery after it began: a few find a place, all others wait or are refused.
const (
	floodWidth = 100
	floodEvery = 250 * time.Millisecond
)

// What the flood may do to proxied requests: multiply their quiet p99 by floodRatio in the
// best of floodRounds. A p99 within floodNoise is good enough on a machine that is busy.
const (
	floodRatio = 2
	floodNoise = 10 // ms
	floodLasts = 2 * time.Second
)

// floodMemory is what the flood may add to the memory of the process for each place in the
// pool: 32 MiB are in use, GOGC lets as much garbage be, and some of both is the answers'.
const floodMemory = 96 << 20

const floodYAML = `
listen: {public: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
directory: state
shutdown: {delay: 0s}
trusted_proxies: [127.0.0.1/32]
identity:
  throttle: {per_account: 1000000/1m, per_ip: 1000000/1m}
  users: {ada@example.com: {password_hash: "HASH"}}
telemetry: {log: {level: info}}
`

// TestI12_LoginFloodLeavesProxiedTrafficAlone floods the gateway with logins of everybody
// and nobody while bench/load keeps its schedule, and looks at latencies and memory.
func TestI12_LoginFloodLeavesProxiedTrafficAlone(t *testing.T) {
	hash := strings.TrimSpace(typed(t, files(t), goodPassword, "hash", "password").out)
	s := serveFiles(t, "ports.yaml", strings.Replace(floodYAML, "HASH", hash, 1), "gateway.yaml", `
services: {a: {endpoints: [{url: "`+startOrigin(t)+`"}]}}
routes: {a: {match: {path: "/{rest...}"}, service: a, plugins: {auth: off}}}
`)
	under(t, s) // so that what was made at first is no difference
	before := s.mostMemory()
	f := newFlood(s)
	under(t, s)
	f.wants(t, s)
	places := max(1, runtime.NumCPU()/2)
	if more := s.mostMemory() - before; more > int64(places)*floodMemory {
		t.Errorf("the flood took %d MiB, want at most %d for %d places", more>>20, places*floodMemory>>20, places)
	}
	t.Logf("memory: %d MiB before, %d MiB at most", before>>20, s.mostMemory()>>20)

	best := 0.0
	for round := range floodRounds {
		quiet := under(t, s)
		f := newFlood(s)
		flooded := under(t, s)
		f.wants(t, s)
		t.Logf("p99: quiet %.2f ms, flooded %.2f ms, %.2f ×", quiet, flooded, flooded/quiet)
		if round == 0 || flooded/quiet < best {
			best = flooded / quiet
		}
		if best <= floodRatio || flooded <= floodNoise {
			return
		}
	}
	if floodRounds > 0 {
		t.Errorf("the p99 under the flood is %.2f times the quiet one, want at most %d (best of %d)", best, floodRatio, floodRounds)
	}
}

// startOrigin starts bench/origin, and returns its URL.
func startOrigin(t *testing.T) string {
	t.Helper()
	c := exec.Command(filepath.Join(binaries, "origin"))
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// under is the p99, in milliseconds, of proxied requests at a moderate rate.
func under(t *testing.T, s *served) float64 {
	t.Helper()
	c := exec.Command(filepath.Join(binaries, "load"), "-url", "http://"+s.public+"/small", "-rate", "500", "-connections", "32",
		"-duration", floodLasts.String(), "-warmup", "300ms", "-timeout", patience.String())
	text, err := c.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var r struct {
		Sent, Answered, Failed int64
		Latency                struct{ P99 float64 } `json:"latency_ms"`
	}
	if err := json.Unmarshal(text, &r); err != nil || r.Sent == 0 || r.Answered != r.Sent || r.Failed > 0 {
		t.Fatalf("the load reports %s (%v)", text, err)
	}
	return r.Latency.P99
}

// flood is logins that go on until end.
type flood struct {
	stop     context.CancelFunc
	running  sync.WaitGroup
	client   *http.Client
	outcomes [600]atomic.Int64 // by status
}

func newFlood(s *served) *flood {
	ctx, cancel := context.WithCancel(context.Background())
	f := &flood{stop: cancel, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: floodWidth}}}
	for i := range floodWidth {
		f.running.Go(func() { f.logins(ctx, s.public, i) })
	}
	return f
}

func (f *flood) logins(ctx context.Context, address string, i int) {
	for ctx.Err() == nil {
		next := time.After(floodEvery)
		email, password := fmt.Sprintf("nobody-%d@example.com", rand.Uint32()), goodPassword
		if i%2 == 0 {
			email = "ada@example.com"
		}
		if i%4 == 0 {
			password = "Wrong-horse7!"
		}
		body := fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/auth/login", strings.NewReader(body))
		if err != nil {
			panic(err) // the address is no URL
		}
		r.Header.Set("Content-Type", "application/json")
		n := rand.Uint32()
		r.Header.Set("X-Forwarded-For", net.IPv4(10, byte(n>>16), byte(n>>8), byte(n)).String())
		if answer, err := f.client.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			f.outcomes[answer.StatusCode].Add(1)
		}
		select {
		case <-next:
		case <-ctx.Done():
		}
	}
}

// wants ends the flood, once passwords were found right and wrong, and logins found no place.
func (f *flood) wants(t *testing.T, s *served) {
	t.Helper()
	gatewaytest.Eventually(t, "every outcome", func() bool {
		return f.outcomes[http.StatusOK].Load() > 0 && f.outcomes[http.StatusUnauthorized].Load() > 0 && f.outcomes[http.StatusServiceUnavailable].Load() > 0
	})
	f.stop()
	f.running.Wait()
	f.client.CloseIdleConnections()
	for status := range f.outcomes {
		if n := f.outcomes[status].Load(); n > 0 && status != http.StatusOK && status != http.StatusUnauthorized && status != http.StatusServiceUnavailable {
			t.Errorf("%d logins were answered with %d", n, status)
		}
	}
	s.allHashed()
}

// allHashed waits until nobody's password is hashed any more.
func (s *served) allHashed() {
	s.t.Helper()
	idle := regexp.MustCompile(`\ngateway_passwords_hashing 0\n(?s:.*)\ngateway_passwords_waiting 0\n`)
	gatewaytest.Eventually(s.t, "the end of hashing", func() bool {
		return idle.MatchString(gatewaytest.Do(s.t, s.admin, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
	})
}

// mostMemory is the most bytes of memory that the process has had.
func (s *served) mostMemory() int64 {
	s.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return kb << 10
}
