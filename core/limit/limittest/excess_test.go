package limittest

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/limit"
)

// slow looks at every pair.
func slow(p *limit.Policy, all []Admission) int64 {
	worst, per := int64(0), p.Per.Microseconds()
	for _, first := range all {
		for _, last := range all {
			length := last.Answered - first.Sent
			if length < 0 {
				continue
			}
			sum := int64(0)
			for _, a := range all {
				if a.Sent >= first.Sent && a.Answered <= last.Answered {
					sum += a.Cost
				}
			}
			switch {
			case p.Algorithm == limit.TokenBucket:
				worst = max(worst, sum*per-p.Burst*per-p.Count*(length.Microseconds()+1))
			case length < p.Per:
				worst = max(worst, (sum-p.Count)*per)
			}
		}
	}
	return (worst + per - 1) / per
}

func TestExcessFindsTheWorstSpan(t *testing.T) {
	t.Parallel()
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SampledFrom(algorithms).Draw(t, "algorithm")
		p := policy(a, rapid.Int64Range(1, 6).Draw(t, "count"), time.Millisecond)
		var all []Admission
		now := time.Duration(0)
		for range rapid.IntRange(0, 30).Draw(t, "admissions") {
			now += time.Duration(rapid.IntRange(0, 500).Draw(t, "passed")) * time.Microsecond
			took := time.Duration(rapid.IntRange(0, 300).Draw(t, "took")) * time.Microsecond
			all = append(all, Admission{now, now + took, rapid.Int64Range(1, 3).Draw(t, "cost")})
		}
		got, want := Excess(p, all), slow(p, all)
		if got != want {
			t.Fatalf("%+v: %d too many, want %d: %v", p, got, want, all)
		}
		if got > 0 {
			found++
		}
	})
	if found == 0 {
		t.Error("no span held too much")
	}
}

func TestExcessOfAnOrdinaryDay(t *testing.T) {
	t.Parallel()
	p := policy(limit.SlidingLog, 1, time.Second)
	at := func(sent, answered time.Duration) Admission { return Admission{sent, answered, 1} }
	if got := Excess(p, []Admission{at(0, 0), at(time.Second, time.Second)}); got != 0 {
		t.Errorf("%d too many a second apart", got)
	}
	if got := Excess(p, []Admission{at(0, 0), at(time.Second-1, time.Second-1)}); got != 1 {
		t.Errorf("%d too many less than a second apart, want 1", got)
	}
	if got := Excess(p, []Admission{at(0, time.Millisecond), at(1, time.Second)}); got != 0 {
		t.Errorf("%d too many that may have been a second apart", got)
	}
	if Excess(p, nil) != 0 {
		t.Error("nothing is too much")
	}
}
