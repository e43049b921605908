package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/suuupra/gateway/core/testenv"
)

// limited is a configuration with one limited route; %s are further keys.
const limited = `listen: {public: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
directory: state
shutdown: {delay: 0s, drain: 5s}
policies: {p: {rate: 2/1h}}
routes: {s: {match: {path: /s}, respond: {status: 204}, plugins: {auth: off, rate_limit: {levels: {ip: {policy: p}}}}}}
%s`

// asks are the statuses of n requests.
func (r *running) asks(n int) string {
	r.t.Helper()
	var out []string
	for range n {
		head, _ := exchange(r.t, r.gateway.Address("public").String(), "GET /s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		out = append(out, strings.Fields(head)[1])
	}
	return strings.Join(out, " ")
}

func (r *running) wantsStatuses(what, got, want string) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// TestS6_LimitsInMemory are told of at the start, and outlive reloads.
func TestS6_LimitsInMemory(t *testing.T) {
	t.Parallel()
	r := boot(t, fmt.Sprintf(limited, ""), serveOptions{})
	if log := r.log.String(); !strings.Contains(log, `"mode":"memory"`) || !strings.Contains(log, `"message":"requests are counted in this process alone`) {
		t.Errorf("the log does not say where requests are counted:\n%s", r.log)
	}
	r.wantsStatuses("two an hour", r.asks(3), "204 204 429")
	r.write("gateway.yaml", strings.ReplaceAll(fmt.Sprintf(limited, ""), "2/1h", "3/1h"))
	if o := r.Reload("test"); o.Result != "applied" {
		t.Fatalf("the reload: %+v", o)
	}
	r.wantsStatuses("one more", r.asks(2), "204 429")
	r.write("gateway.yaml", strings.ReplaceAll(fmt.Sprintf(limited, ""), "policy: p", "policy: q"))
	if o := r.Reload("test"); o.Result != "refused" || !strings.Contains(fmt.Sprint(o.Problems), "want the name of one of the policies") {
		t.Errorf("a policy that there is not: %+v", o)
	}
	var metrics strings.Builder
	r.meter.WritePrometheus(&metrics)
	for _, want := range []string{"gateway_rate_limit_counters 1\n", "gateway_rate_limit_counters_forgotten_total 0\n"} {
		if !strings.Contains(metrics.String(), want) {
			t.Errorf("%q is missing in the metrics", want)
		}
	}
}

// TestRL7_PoliciesOfPostgreSQL change numbers within a second, without a reload and
// without losing counts; a bad row leaves what was in force.
func TestRL7_PoliciesOfPostgreSQL(t *testing.T) {
	t.Parallel()
	server := testenv.NewPostgres(t)
	url := server.Database(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	set := func(burst, perMinute int) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), `INSERT INTO rate_limit_policies (policy_name, requests_per_minute, burst_capacity) VALUES ('p', $1, $2)
			ON CONFLICT (policy_name) DO UPDATE SET requests_per_minute = excluded.requests_per_minute, burst_capacity = excluded.burst_capacity`, perMinute, burst); err != nil {
			t.Fatal(err)
		}
	}
	set(3, 1)
	r := boot(t, fmt.Sprintf(limited, "stores: {postgres: {url: \""+url+"\"}}\n"), serveOptions{})
	r.wantsStatuses("the row from the start", r.asks(4), "204 204 204 429")

	set(5, 1)
	begun := time.Now()
	r.eventually("the row changes the policy", func() bool { return r.asks(1) == "204" })
	t.Logf("the change was felt after %s", time.Since(begun))
	r.wantsStatuses("and keeps the count", r.asks(2), "204 429")

	set(1_000_000_000, 2_147_483_647) // can't be counted exactly
	told := func() int {
		return strings.Count(r.log.String(), "rate_limit_policies can't be put in force as they are")
	}
	r.eventually("the bad row is told of", func() bool { return told() == 1 })
	r.wantsStatuses("what was in force stays", r.asks(1), "429")

	// Another row is read all the same, and what was told is not told again.
	if _, err := conn.Exec(t.Context(), `INSERT INTO rate_limit_policies (policy_name, requests_per_minute, burst_capacity) VALUES ('own', 1, 1)`); err != nil {
		t.Fatal(err)
	}
	r.eventually("another row", func() bool { _, found := r.limits.Policies.Find("own"); return found })
	if n := told(); n != 1 {
		t.Errorf("the bad row was told of %d times", n)
	}

	server.Stop()
	r.eventually("the loss of PostgreSQL", func() bool { return told() == 2 })
	r.wantsStatuses("without it", r.asks(1), "429")
	server.Start()
	conn, err = pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `DELETE FROM rate_limit_policies`); err != nil {
		t.Fatal(err)
	}
	r.eventually("the file's again", func() bool {
		p, found := r.limits.Policies.Find("p")
		return found && p.Policy().Burst == 2 && p.Policy().Per == time.Hour
	})
}

// TestRL3_LimitsInRedis are one for two instances; while Redis is away each does what
// on_store_error says, and afterwards both count together again.
func TestRL3_LimitsInRedis(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	stores := "stores: {redis: {addresses: \"" + server.Address() + "\", timeout: 1s}}\nlimiter: {mode: exact, on_store_error: %s}\n"
	denies := boot(t, fmt.Sprintf(limited, fmt.Sprintf(stores, "deny")), serveOptions{})
	local := boot(t, fmt.Sprintf(limited, fmt.Sprintf(stores, "local")), serveOptions{})
	if log := denies.log.String(); !strings.Contains(log, `"mode":"exact"`) || !strings.Contains(log, `"message":"requests are counted in Redis`) {
		t.Errorf("the log does not say where requests are counted:\n%s", log)
	}
	denies.wantsStatuses("one here", denies.asks(1), "204")
	local.wantsStatuses("one there", local.asks(1), "204")
	denies.wantsStatuses("no third", denies.asks(1), "429")
	local.wantsStatuses("nor there", local.asks(1), "429")

	server.Stop()
	for _, r := range []*running{denies, local} {
		r.limits.Denied.Forget() // what was denied is remembered for a while, whoever is away
	}
	denies.eventually("a request without Redis", func() bool { return denies.asks(1) == "503" })
	local.wantsStatuses("its share begins empty", local.asks(1), "429")
	server.Start()
	denies.eventually("both count together again", func() bool {
		denies.limits.Denied.Forget()
		return denies.asks(1) != "503"
	})
}

// TestRL3_LeasedByDefault: with Redis, requests are counted by leases. The first start over
// an empty Redis waits until counters open; then two instances admit together what one would.
func TestRL3_LeasedByDefault(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	stores := "stores: {redis: {addresses: \"" + server.Address() + "\", timeout: 1s}}\n"
	first := boot(t, fmt.Sprintf(limited, stores), serveOptions{})
	second := boot(t, fmt.Sprintf(limited, stores), serveOptions{})
	log := first.log.String()
	for _, want := range []string{`"mode":"leased"`, "its counters open when", "by tokens taken from Redis ahead of need", "no users, keys or sessions are stored"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(second.log.String(), "its counters open when") {
		t.Error("the second waits, too")
	}
	first.wantsStatuses("one here", first.asks(1), "204")
	second.wantsStatuses("one there", second.asks(1), "204")
	first.wantsStatuses("no third", first.asks(1), "429")
	second.wantsStatuses("nor there", second.asks(1), "429")
	var metrics strings.Builder
	first.meter.WritePrometheus(&metrics)
	for _, want := range []string{`gateway_rate_limit_lease_asks_total [1-9]`, `gateway_rate_limit_lease_tokens_lost_total 0\n`, `gateway_rate_limit_mode{mode="shared"} 1`} {
		if !regexp.MustCompile(want).MatchString(metrics.String()) {
			t.Errorf("%q is missing in the metrics:\n%s", want, metrics.String())
		}
	}
}
