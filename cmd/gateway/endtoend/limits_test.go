package endtoend

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/testenv"
)

// The lines of README about limits do what they promise.
func TestReadmeLimits(t *testing.T) {
	t.Parallel()
	d := startDemo(t, freePorts(t, 8))
	gatewaytest.Eventually(t, "the demo is ready", func() bool { return strings.Contains(d.text(), "Ctrl-C stops everything.") })
	all := blocks(t, "Limit how often", d.first)
	if len(all) == 0 {
		t.Fatal("README shows nothing")
	}
	out, err := shell(t, ".", all[0])
	if err != nil || !regexp.MustCompile(`(?s)^ *100 200\n *1 429\nHTTP/1\.1 429 Too Many Requests\n.*\nRetry-After: 3[56]\d\d\n.*X-RateLimit-Remaining: 0\n.*RateLimit: "ip";r=0;t=\d+\n.*"code":"rate_limited".*level ip of the rate limit is exhausted`).MatchString(out) {
		t.Errorf("%v\n%s", err, out)
	}
}

// The 101st of a hundred requests, spread over two instances, is refused: the lines of
// README, beside a Redis of the test's own.
func TestReadmeLimitsOverInstances(t *testing.T) {
	t.Parallel()
	redis := testenv.NewRedis(t)
	first := freePorts(t, 10)
	all := blocks(t, "Over several instances", first)
	if len(all) != 3 || !strings.Contains(all[0], "make run") {
		t.Fatalf("README shows\n%q", all)
	}
	config := regexp.MustCompile(`CONFIG="(.*)" make run`).FindStringSubmatch(strings.ReplaceAll(all[0], root+"/", ""))
	d := startDemo(t, first, "REDIS_ADDRESSES="+redis.Address(), "CONFIG="+config[1])
	gatewaytest.Eventually(t, "the demo is ready", func() bool { return strings.Contains(d.text(), "Ctrl-C stops everything.") })

	second := exec.Command("bash", "-c", strings.NewReplacer("127.0.0.1:6379", redis.Address(), "=8081", fmt.Sprint("=", first+8), "=9902", fmt.Sprint("=", first+9),
		"=../bin/state-2", "="+t.TempDir(), "\ngateway", "\nexec "+binaries+"/gateway").Replace(all[1]))
	var log bytes.Buffer
	second.Stderr = &log
	second.Env = os.Environ()
	for i, service := range []string{"IDENTITY", "CONTENT", "COMMERCE", "PAYMENTS", "LIVE_CLASSES", "VOD"} {
		second.Env = append(second.Env, fmt.Sprintf("%s_PORT=%d", service, first+2+i)) // those of the demo
	}
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = second.Process.Signal(syscall.SIGTERM)
		_ = second.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	ready := fmt.Sprintf("127.0.0.1:%d", first+9)
	gatewaytest.Eventually(t, "the second instance is ready", func() bool {
		out, _ := shell(t, ".", "curl -s -o /dev/null -w '%{http_code}' http://"+ready+"/readyz")
		return out == "200"
	})
	walk := strings.NewReplacer("{8080,8081}", fmt.Sprintf("{%d,%d}", first, first+8), ":8081", fmt.Sprintf(":%d", first+8)).Replace(all[2])
	out, err := shell(t, ".", walk)
	if err != nil || !regexp.MustCompile(`(?s)^ *100 200\nHTTP/1\.1 429 Too Many Requests\n.*"code":"rate_limited"`).MatchString(out) {
		t.Errorf("%v\n%s", err, out)
	}
}

// gateway explain shows the levels of a route with their policies.
func TestExplainShowsLevels(t *testing.T) {
	t.Parallel()
	r := do(t, root, "explain", "GET", "/content/trial", "-c", "configs/gateway.yaml")
	for _, want := range []string{
		"route:     trial  (configs/gateway.yaml:", "\n  guard        rate_limit        configs/gateway.yaml:", "\n  limit        rate_limit        configs/gateway.yaml:",
		"\nnotes:\n  rate_limit   level ip: by ip, policy trial (sliding_log 100/1h)\n",
	} {
		if r.code != exitOK || !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in\n%s%s", want, r.out, r.err)
		}
	}
	r = do(t, root, "explain", "GET", "/content/trial", "-c", "configs/gateway.yaml", "--json")
	if want := `"notes":[{"plugin":"rate_limit","text":"level ip: by ip, policy trial (sliding_log 100/1h)"}]`; !strings.Contains(r.out, want) {
		t.Errorf("%q is missing in\n%s", want, r.out)
	}
}
