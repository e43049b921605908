package config_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/limit"
)

// TestPolicies looks at what the numbers of a file are counted as.
func TestPolicies(t *testing.T) {
	t.Parallel()
	cfg, r, _ := load(t, "good/policies.yaml")
	if cfg == nil {
		t.Fatal(r.Err())
	}
	want := map[string]*limit.Policy{
		"plain":    {Name: "plain", Algorithm: limit.TokenBucket, Count: 1000, Per: time.Minute, Burst: 1000},
		"burst":    {Name: "burst", Algorithm: limit.TokenBucket, Count: 1, Per: time.Hour, Burst: 1},
		"window":   {Name: "window", Algorithm: limit.SlidingWindow, Count: 300, Per: 10 * time.Second},
		"log":      {Name: "log", Algorithm: limit.SlidingLog, Count: 7, Per: time.Minute},
		"shortest": {Name: "shortest", Algorithm: limit.TokenBucket, Count: 1_000_000_000, Per: time.Millisecond, Burst: 1_000_000_000},
		"longest":  {Name: "longest", Algorithm: limit.TokenBucket, Count: 1, Per: limit.Longest, Burst: 1},
	}
	if diff := cmp.Diff(want, cfg.LimitPolicies()); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
}

// TestPoliciesWithoutTheEnvironment leaves out what nobody knows, and says nothing of it.
func TestPoliciesWithoutTheEnvironment(t *testing.T) {
	t.Parallel()
	text := "policies: {a: {rate: \"${N}/1m\"}, b: {rate: 1/1s, burst: \"${N}\"}, c: {algorithm: \"${A}\", rate: 1/1s}, d: {rate: 1/1s}}\n" +
		"limiter: {mode: exact}\nstores: {redis: {addresses: \"${R}\"}}\n"
	cfg, r := config.Load(config.LoadOptions{Files: []string{"a.yaml"}, ReadFile: texts(map[string]string{"a.yaml": text + minimal}), NoEnv: true, Env: environment})
	if cfg == nil {
		t.Fatal(r.Err())
	}
	if got := cfg.LimitPolicies(); len(got) != 4 || got["d"] == nil || got["a"] != nil || got["b"] != nil || got["c"] != nil || len(r.All()) != 0 {
		t.Errorf("got %v and %v", got, r.All())
	}
}

func TestRL3_ModeFollowsTheStores(t *testing.T) {
	t.Parallel()
	const redis = "stores: {redis: {addresses: \"127.0.0.1:6379\"}}\n"
	for text, want := range map[string]string{
		"": config.LimiterMemory, redis: config.LimiterLeased, "limiter: {mode: auto}\n" + redis: config.LimiterLeased,
		"limiter: {mode: exact}\n" + redis: config.LimiterExact, "limiter: {mode: memory}\n" + redis: config.LimiterMemory,
		"limiter: {mode: memory}\n": config.LimiterMemory, "stores: {postgres: {url: \"postgres://127.0.0.1/x\"}}\n": config.LimiterMemory,
	} {
		cfg, r := config.Load(config.LoadOptions{Files: []string{"a.yaml"}, ReadFile: texts(map[string]string{"a.yaml": text + minimal})})
		if cfg == nil {
			t.Fatal(r.Err())
		}
		if got := cfg.LimiterMode(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
