package limit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
)

func TestRL3_KeysAreTheSpecsNames(t *testing.T) {
	bucket := &limit.Policy{Name: "standard", Algorithm: limit.TokenBucket, Count: 10, Per: time.Second, Burst: 10}
	window := &limit.Policy{Name: "per-ip", Algorithm: limit.SlidingWindow, Count: 300, Per: 10 * time.Second}
	for want, c := range map[string]limit.Counter{
		"rate_limit:user:u1:standard":                 {Level: "user", Value: "u1", Policy: bucket},
		"rate_limit:ip:2001%3Adb8%3A%3A:standard":     {Level: "ip", Value: "2001:db8::", Policy: bucket},
		"rate_limit:global:standard":                  {Level: "global", Policy: bucket},
		"rate_limit:sliding:ip:192.0.2.1:per-ip":      {Level: "ip", Value: "192.0.2.1", Policy: window},
		"rate_limit:user:u1:standard@courses":         {Level: "user", Value: "u1", Policy: bucket, Route: "courses"},
		"rate_limit:user:a%3Ab%7Bc%7D%00%0A:standard": {Level: "user", Value: "a:b{c}\x00\n", Policy: bucket},
	} {
		if got := string(c.AppendKey(nil)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	long := limit.Counter{Level: "user", Value: strings.Repeat("x", 10<<10), Policy: bucket}
	if got := string(long.AppendKey(nil)); len(got) > 100 || !strings.HasPrefix(got, "rate_limit:user:%sha256%") {
		t.Errorf("10 KiB became %s", got)
	}
}

func TestPolicyValidate(t *testing.T) {
	for _, p := range []limit.Policy{
		{Algorithm: limit.TokenBucket, Count: 0, Per: time.Second, Burst: 1},
		{Algorithm: limit.TokenBucket, Count: -1, Per: time.Second, Burst: 1},
		{Algorithm: limit.TokenBucket, Count: limit.Largest + 1, Per: time.Second, Burst: 1},
		{Algorithm: limit.TokenBucket, Count: 1, Per: 0, Burst: 1},
		{Algorithm: limit.TokenBucket, Count: 1, Per: time.Millisecond + 1, Burst: 1},
		{Algorithm: limit.TokenBucket, Count: 1, Per: limit.Longest + time.Second, Burst: 1},
		{Algorithm: limit.TokenBucket, Count: 1, Per: time.Second},
		{Algorithm: limit.TokenBucket, Count: 999_999_937, Per: limit.Longest, Burst: limit.Largest},
		{Algorithm: limit.SlidingWindow, Count: 1, Per: time.Second, Burst: 1},
		{Algorithm: limit.SlidingLog, Count: limit.LargestLog + 1, Per: time.Hour},
		{Algorithm: 9, Count: 1, Per: time.Second},
	} {
		if err := p.Validate(); err == nil {
			t.Errorf("%+v passes", p)
		}
	}
}
