package endtoend

import (
	"regexp"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
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
