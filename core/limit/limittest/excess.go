package limittest

import (
	"sort"
	"time"

	"github.com/suuupra/gateway/core/limit"
)

// Admission is a request that was admitted, as its client saw it, by one clock: it counts
// in a span if that holds both its sending and its answer.
type Admission struct {
	Sent, Answered time.Duration
	Cost           int64
}

// Excess is by how many tokens, rounded up, the worst of all spans of time holds more than
// the policy allows; 0 if none does. It looks at every span from a sending to an answer:
// of a token bucket, any may hold Burst and its length times the rate; of the others, those
// shorter than Per may hold Count. Cost × Per in microseconds, summed, must be below 2^59.
func Excess(p *limit.Policy, all []Admission) int64 {
	if len(all) == 0 {
		return 0
	}
	bySending := append([]Admission(nil), all...)
	sort.Slice(bySending, func(i, j int) bool { return bySending[i].Sent > bySending[j].Sent })
	answers := make([]time.Duration, len(all))
	for i, a := range all {
		answers[i] = a.Answered
	}
	sort.Slice(answers, func(i, j int) bool { return answers[i] < answers[j] })
	per, bucket := p.Per.Microseconds(), p.Algorithm == limit.TokenBucket
	// The tree holds, for a span that ends with each answer, Per × what it holds, less
	// what is gained until then. Spans begin earlier and earlier; one that would end before
	// that is none yet.
	value, ends := make([]int64, len(all)), make([]bool, len(all))
	for i, a := range answers {
		if value[i] = none; bucket {
			value[i] -= p.Count * (a.Microseconds() + 1)
		}
	}
	t := newTree(value)
	worst := int64(0)
	for i, a := range bySending {
		end := at(answers, a.Answered)
		if t.add(end, per*a.Cost); !ends[end] {
			ends[end] = true
			t.raise(end, -none)
		}
		if i+1 < len(bySending) && bySending[i+1].Sent == a.Sent {
			continue
		}
		if bucket {
			worst = max(worst, t.max(len(answers))+p.Count*a.Sent.Microseconds()-p.Burst*per)
		} else {
			worst = max(worst, t.max(at(answers, a.Sent+p.Per))-p.Count*per)
		}
	}
	return (worst + per - 1) / per
}

// at is the first answer that is not before the time.
func at(answers []time.Duration, when time.Duration) int {
	return sort.Search(len(answers), func(i int) bool { return answers[i] >= when })
}

// tree is values of which all from one on are raised at once, and the maximum of those
// before one is known at once.
type tree struct {
	size int
	best []int64 // of the part below, with what was added in it
	plus []int64 // to all of the part below
}

// none is far below what any span holds.
const none = -1 << 60

func newTree(value []int64) *tree {
	t := &tree{size: 1}
	for t.size < len(value) {
		t.size *= 2
	}
	t.best, t.plus = make([]int64, 2*t.size), make([]int64, 2*t.size)
	for i := range t.best {
		t.best[i] = none
	}
	copy(t.best[t.size:], value)
	for i := t.size - 1; i > 0; i-- {
		t.best[i] = max(t.best[2*i], t.best[2*i+1])
	}
	return t
}

// raise raises one.
func (t *tree) raise(i int, by int64) {
	n := i + t.size
	t.best[n] += by
	for n /= 2; n > 0; n /= 2 {
		t.best[n] = max(t.best[2*n], t.best[2*n+1]) + t.plus[n]
	}
}

// add raises all from the index on.
func (t *tree) add(from int, by int64) {
	for n := from + t.size; n > 1; n /= 2 {
		if n%2 == 0 { // its sibling is wholly after it
			t.best[n+1] += by
			t.plus[n+1] += by
		}
	}
	t.raise(from, by)
}

// max is the largest of those before the index.
func (t *tree) max(before int) int64 {
	if before >= t.size {
		return t.best[1]
	}
	most := int64(2 * none)
	for n := before + t.size; n > 1; n /= 2 {
		if n%2 == 1 {
			most = max(most, t.best[n-1])
		}
		most += t.plus[n/2]
	}
	return most
}
