//go:build !race

package endtoend

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/limit/limittest"
	"github.com/suuupra/gateway/core/testenv"
)

// planted is a bug: one line of the product, and what stands there in a binary that is built for
// this test alone.
type planted struct{ file, line, instead string }

var (
	spendsLate = planted{"core/limit/lease_ask.go", "deadline: sent + int64(a.Until)/10*9 - h.of.precision}", "deadline: 1 << 62}"}
	gainsOnTop = planted{"core/store/redis/limit_counter.lua", "return c.out\n", "return 0\n"}
)

// build builds the gateway with the bug in it, by an overlay: the source stays as it is.
func (p planted) build(t *testing.T) (binary string) {
	t.Helper()
	dir := t.TempDir()
	file, err := filepath.Abs(filepath.Join(root, p.file))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), p.line); n != 1 {
		t.Fatalf("%q stands %d times in %s, want once", p.line, n, p.file)
	}
	changed, overlay := filepath.Join(dir, filepath.Base(p.file)), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{changed: strings.Replace(string(source), p.line, p.instead, 1), overlay: string(list)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary = filepath.Join(dir, "gateway")
	build := exec.Command("go", "build", "-overlay", overlay, "-pgo=off", "-trimpath", "-buildvcs=false", "-o", binary, "./cmd/gateway")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return binary
}

// drowsy has a burst that is large against what it gains in a second, so that what a lease adds
// to it is seen however slowly the machine spends it.
var drowsy = limit.Policy{Algorithm: limit.TokenBucket, Count: 200, Per: time.Second, Burst: 600}

// TestRL8_TheProofFindsBugs: an instance falls asleep over a lease. If it sleeps for a second the
// lease is good, and the bucket may not gain what is out on it. If it sleeps for longer than a lease lasts
// the bucket is full, and the lease may not be spent. Then all is asked for at once. The binary as
// it is admits what the policy allows; with either rule taken out it admits more.
func TestRL8_TheProofFindsBugs(t *testing.T) {
	for _, c := range []struct {
		name   string
		sleeps time.Duration
		bug    planted
	}{
		{"a bucket that gains what is out on a lease", time.Second, gainsOnTop},
		{"a lease that is spent after its deadline", limit.LeaseLife + 400*time.Millisecond, spendsLate},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			binary := c.bug.build(t)
			for try := 1; oversleep(t, binary, c.sleeps) == 0; try++ {
				if try == 5 { // so busy a machine may spend the whole lease before the sleep, or after the burst
					t.Fatal("with the bug in it the gateway admits what it may, and no more")
				}
			}
			if excess := oversleep(t, filepath.Join(binaries, "gateway"), c.sleeps); excess > 0 {
				t.Errorf("without it some window admits %d more than it may", excess)
			}
		})
	}
}

// oversleep returns by how much two instances of a binary admit more than they may.
func oversleep(t *testing.T, binary string, sleeps time.Duration) (excess int64) {
	t.Helper()
	redis := testenv.NewRedis(t)
	redis.Do(t, "SET", "rate_limit:epoch", "1") // it has had data for longer than any lease lasts
	var both [2]*served
	for i := range both {
		dir := files(t, "rig.yaml", rigYAML, "gateway.yaml", fmt.Sprintf(limitsYAML, redis.Address(), "5s", "leased", "deny", shown(&drowsy)))
		command := exec.Command(binary, "serve", "-c", "rig.yaml", "-c", "gateway.yaml")
		command.Dir = dir
		both[i] = serveBy(t, command)
	}
	sleeper := both[0]
	c := &crowd{}
	c.begun, c.stop = time.Now(), make(chan struct{})
	calm, _ := net.Dial("tcp", sleeper.public)
	if calm == nil {
		t.Fatal("the gateway does not listen")
	}
	defer calm.Close()
	c.drip(calm, 1200*time.Millisecond)
	sleeper.signal(syscall.SIGSTOP)
	pass(sleeps)
	from := len(c.admitted)
	for i := range both {
		c.addresses[i].Store(&both[i].public)
	}
	for i := range 2 * callers {
		c.done.Go(func() { c.call(&c.addresses[i%len(both)]) })
	}
	pass(50 * time.Millisecond) // for their requests to lie there when it wakes
	sleeper.signal(syscall.SIGCONT)
	pass(2 * time.Second)
	c.end()
	for _, s := range both {
		s.signal(syscall.SIGKILL)
	}
	excess = limittest.Excess(&drowsy, c.admitted)
	t.Logf("%d admitted before the sleep, %d after it, %d refused, %d failed; excess %d", from, len(c.admitted)-from, c.refused, c.failed, excess)
	return excess
}

// drip asks on one connection, a little less than the policy gains, for a while.
func (c *crowd) drip(conn net.Conn, during time.Duration) {
	tick := time.NewTicker(6 * time.Millisecond)
	defer tick.Stop()
	for answers := bufio.NewReader(conn); time.Since(c.begun) < during; <-tick.C {
		c.ask(conn, answers)
	}
}
