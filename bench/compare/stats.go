package main

import (
	"math"
	"slices"
)

// quantile returns the q-quantile (0 ≤ q ≤ 1) of the samples, interpolated
// linearly between the two nearest; NaN without samples. The samples stay in
// their order.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	at := min(max(q, 0), 1) * float64(len(sorted)-1)
	below := int(at)
	if below == len(sorted)-1 {
		return sorted[below]
	}
	part := at - float64(below)
	return sorted[below]*(1-part) + sorted[below+1]*part
}

// lowerQuartile is the figure that is compared: a quarter of the rounds were
// disturbed less.
func lowerQuartile(samples []float64) float64 { return quantile(samples, 0.25) }

func median(samples []float64) float64 { return quantile(samples, 0.5) }
