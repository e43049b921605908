package main

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	cases := []struct {
		samples []float64
		q, want float64
	}{
		{[]float64{7}, 0.25, 7},
		{[]float64{1, 2}, 0.5, 1.5},
		{[]float64{4, 1, 3, 2}, 0.25, 1.75},
		{[]float64{5, 4, 3, 2, 1}, 0.25, 2},
		{[]float64{5, 4, 3, 2, 1}, 0.5, 3},
		{[]float64{1, 2, 3}, 0, 1},
		{[]float64{1, 2, 3}, 1, 3},
		{[]float64{1, 2, 3}, 2, 3},
		{[]float64{12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 0.25, 3.75},
	}
	for _, c := range cases {
		if got := quantile(c.samples, c.q); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("quantile %v of %v: %v, want %v", c.q, c.samples, got, c.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("no samples have a median")
	}
}

func TestQuantileLaws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.Float64Range(-1e9, 1e9), 1, 50).Draw(t, "samples")
		before := slices.Clone(samples)
		p := rapid.Float64Range(0, 1).Draw(t, "p")
		q := rapid.Float64Range(p, 1).Draw(t, "q")
		low, high := quantile(samples, p), quantile(samples, q)
		if low > high+1e-6 || low < slices.Min(samples)-1e-6 || high > slices.Max(samples)+1e-6 {
			t.Fatalf("quantiles %v and %v are %v and %v", p, q, low, high)
		}
		if !slices.Equal(samples, before) {
			t.Fatal("the samples were moved")
		}
		slices.Reverse(before)
		if other := quantile(before, q); other != high {
			t.Fatalf("in another order: %v, want %v", other, high)
		}
		// One round in eight may be disturbed without end: the lower quartile stays
		// among the others.
		if len(samples) >= 8 && lowerQuartile(append(slices.Clone(samples), 1e12)) > slices.Max(samples) {
			t.Fatalf("one disturbance moved the lower quartile from %v", lowerQuartile(samples))
		}
	})
}
