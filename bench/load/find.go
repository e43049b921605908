package main

import (
	"fmt"
	"math"
)

const (
	// closeEnough ends the search: the rates on both sides of the edge are
	// within this factor.
	closeEnough = 1.05
	// fastest is the highest rate that is tried.
	fastest = 2e6
	// confirmations is how often the found rate may turn out too high.
	confirmations = 5
	// attempts is how often a trial is made in which the machine held up the
	// generator itself: that says nothing about the server.
	attempts = 3
)

// found is the outcome of a search.
type found struct {
	Rate   float64  `json:"highest_clean_rate"` // 0: none was clean
	Trials []report `json:"trials"`             // in the order they were run
}

// find searches the highest rate at which try is clean: it doubles from the
// given rate until it is not (or halves until it is), closes in on the edge, and
// confirms the result with a run of its own, stepping down while that is not clean.
func find(from float64, try func(rate float64) (report, error)) (found, error) {
	var f found
	clean := func(rate float64) (bool, error) {
		var rep report
		var err error
		for range attempts {
			if rep, err = try(rate); err != nil {
				return false, fmt.Errorf("try %.0f a second: %w", rate, err)
			}
			f.Trials = append(f.Trials, rep)
			if rep.Held < inMilliseconds(float64(cleanP99)) {
				break
			}
		}
		return rep.Clean, nil
	}
	low, high := 0.0, math.Inf(1)
	for rate := from; math.IsInf(high, 1) || low == 0; {
		ok, err := clean(rate)
		switch {
		case err != nil:
			return f, err
		case ok:
			low = rate
			rate *= 2
		default:
			high = rate
			rate /= 2
		}
		if rate < 1 || rate > fastest {
			break
		}
	}
	for low > 0 && !math.IsInf(high, 1) && high/low > closeEnough {
		rate := math.Sqrt(low * high)
		ok, err := clean(rate)
		switch {
		case err != nil:
			return f, err
		case ok:
			low = rate
		default:
			high = rate
		}
	}
	for range confirmations {
		if low < 1 {
			return f, nil
		}
		ok, err := clean(low)
		if err != nil || ok {
			f.Rate = low
			return f, err
		}
		low /= closeEnough
	}
	return f, nil
}
