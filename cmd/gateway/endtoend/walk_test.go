package endtoend

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/testenv"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// blocks are the command lines below a heading of README, for a demo at those ports.
func blocks(t *testing.T, heading string, first int) (texts []string) {
	t.Helper()
	for _, m := range shellBlock.FindAllStringSubmatch(section(t, heading), -1) {
		texts = append(texts, strings.NewReplacer(":8080/", fmt.Sprintf(":%d/", first), "./bin/gateway", "gateway", "configs/", root+"/configs/").Replace(m[1]))
	}
	return texts
}

// promised are the outcomes that comments behind the lines of a block tell of.
func promised(block string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^curl .* # (.*)$`).FindAllStringSubmatch(block, -1) {
		all = append(all, m[1])
	}
	return all
}

// came are the outcomes in what curl -i printed: the status, and the code of a fault.
func came(output string) (all []string) {
	for _, answer := range strings.Split("\n"+output, "\nHTTP/1.1 ")[1:] {
		outcome := answer[:3]
		if m := regexp.MustCompile(`"code":"(.*?)"`).FindStringSubmatch(answer); m != nil {
			outcome += " " + m[1]
		}
		all = append(all, outcome)
	}
	return all
}

// walks runs a script and compares what came with what its lines promise.
func walks(t *testing.T, dir, script string, least int) {
	t.Helper()
	// The body of an answer ends without a line break; what follows is to begin a line.
	out, err := shell(t, dir, "set -e\ncurl() { command curl \"$@\"; echo; }\n"+script)
	want := promised(script)
	if err != nil || len(want) < least {
		t.Fatalf("%v after\n%s\n%s", err, script, out)
	}
	if diff := cmp.Diff(want, came(out)); diff != "" {
		t.Errorf("outcomes (-promised +came):\n%s\n%s", diff, out)
	}
}

func TestReadmeWalk(t *testing.T) {
	t.Parallel()
	d := startDemo(t, freePorts(t, 8))
	gatewaytest.Eventually(t, "the demo is ready", func() bool { return strings.Contains(d.text(), "Ctrl-C stops everything.") })
	walks(t, ".", strings.Join(blocks(t, "Know who calls", d.first), "\n"), 7)
	for _, secret := range []string{"Learner-2026!", "ZT6525rhFA5jYncr642h42iwCZjojFXtw9mPWaIFojV", "eyJ"} {
		if strings.Contains(d.text(), secret) {
			t.Errorf("%q stands in the log:\n%s", secret, d.text())
		}
	}
}

func TestReadmeWalkWithStores(t *testing.T) {
	t.Parallel()
	postgres, redis := testenv.NewPostgres(t), testenv.NewRedis(t)
	first, dir := freePorts(t, 8), t.TempDir()
	all := blocks(t, "With PostgreSQL and Redis", first)
	if len(all) != 2 {
		t.Fatalf("%d blocks", len(all))
	}
	environment := []string{"POSTGRES_URL=" + postgres.NewDatabase(t), "REDIS_ADDRESSES=" + redis.Address(), "ENCRYPTION_KEY_FILE=" + filepath.Join(dir, "encryption.key")}
	begin, run, found := strings.Cut(all[0], "CONFIG=")
	_, begin, exports := strings.Cut(begin, "\n")
	if !found || !exports || run != "\"$stored\" make run\n" {
		t.Fatalf("the block is another one:\n%s", all[0])
	}
	field := strings.SplitN(blocks(t, "Know who calls", first)[0], "\n", 2)[0]
	begin = "export " + strings.Join(environment, " ") + "\n" + field + "\n" + strings.ReplaceAll(begin, root, mustAbs(t, root))
	out, err := shell(t, dir, "set -e\n"+begin+"declare -p key stored")
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, begin, out)
	}
	_, declared, _ := strings.Cut(out, "declare ")
	d := startDemo(t, first, append(environment, "CONFIG=-c configs/gateway.yaml -c configs/stores.yaml")...)
	gatewaytest.Eventually(t, "the demo is ready", func() bool { return strings.Contains(d.text(), "Ctrl-C stops everything.") })

	again := strings.ReplaceAll(blocks(t, "Know who calls", first)[0], "learner@example.com", "grace@example.com")
	walks(t, dir, again, 5)
	known := "export " + strings.Join(environment, " ") + "\ndeclare " + declared
	walks(t, dir, known+strings.ReplaceAll(all[1], root, mustAbs(t, root)), 2)

	health := func() string {
		out, err := shell(t, ".", fmt.Sprintf("curl -s http://127.0.0.1:%d/health", first+1))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	redis.Stop()
	gatewaytest.Eventually(t, "the loss of Redis shows", func() bool {
		return strings.Contains(health(), `"redis":false,"database":true`)
	})
	walks(t, dir, again, 5) // and costs nobody anything
	redis.Start()
	postgres.Stop()
	gatewaytest.Eventually(t, "the loss of PostgreSQL shows", func() bool {
		return strings.Contains(health(), `"redis":true,"database":false`)
	})
	if out, err := shell(t, ".", fmt.Sprintf("curl -s -o /dev/null -w '%%{http_code}' http://127.0.0.1:%d/identity/hello", first)); err != nil || out != "200" {
		t.Errorf("a route without auth answers %q, %v", out, err)
	}
	postgres.Start()
	gatewaytest.Eventually(t, "all is well again", func() bool { return strings.Contains(health(), `"status":"healthy"`) })
	walks(t, dir, again, 5)
}

func mustAbs(t *testing.T, name string) string {
	t.Helper()
	abs, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		t.Fatal(err)
	}
	return abs
}

// TestReadmeRealRun: each line of "Run it for real" does what its comment says.
func TestReadmeRealRun(t *testing.T) {
	t.Parallel()
	first := freePorts(t, 3)
	var script []string
	for _, m := range shellBlock.FindAllStringSubmatch(section(t, "Run it for real"), -1) {
		script = append(script, m[1])
	}
	out, err := shell(t, t.TempDir(), "set -e\ntrap 'kill $gateway 2>/dev/null || true' EXIT\n"+strings.NewReplacer(
		"8443", fmt.Sprint(first), "8081", fmt.Sprint(first+1), "9903", fmt.Sprint(first+2), "../bin/gateway", "gateway",
		"delay: 1s", "delay: 5s", "sleep 0.3", "sleep 1", // for machines that are busy
	).Replace(strings.Join(script, "\n")))
	want := regexp.MustCompile(fmt.Sprintf(`^ok: 0 services, 1 route
hello
308 https://localhost:%d/hello
ok: version 2 is in force, [0-9a-f]{12}
goodbye
1
goodbye
goodbye
gateway .*, ready
health +healthy
(?s:.*)503
0
$`, first))
	if err != nil || !want.MatchString(out) {
		t.Errorf("%v, and it printed\n%s\nwant\n%s", err, out, want)
	}
}
