package meter

import (
	"bufio"
	"strconv"
	"sync/atomic"
	"time"
)

// cacheLine is two lines of 64 bytes: processors fetch them in pairs.
const cacheLine = 128

// cell is a number that one stripe writes, alone on its cache lines.
type cell struct {
	n atomic.Uint64
	_ [cacheLine - 8]byte
}

// Counter only grows. Add is for any number of goroutines at once.
type Counter struct {
	cells []cell
	mask  uint32
}

func newCounter(stripes uint32) *Counter {
	return &Counter{cells: make([]cell, stripes), mask: stripes - 1}
}

// Add adds n for the caller's stripe; any index will do.
func (c *Counter) Add(stripe uint32, n uint64) { c.cells[stripe&c.mask].n.Add(n) }

// Value sums the stripes.
func (c *Counter) Value() uint64 {
	var sum uint64
	for i := range c.cells {
		sum += c.cells[i].n.Load()
	}
	return sum
}

func (c *Counter) write(w *bufio.Writer, name, labels string) {
	line(w, name, labels, strconv.FormatUint(c.Value(), 10))
}

// Histogram counts durations by upper bound. Observe is for any number of
// goroutines at once.
type Histogram struct {
	bounds  []int64 // nanoseconds, ascending
	texts   []string
	stripes []stripe
	mask    uint32
}

// stripe is what one stripe of a histogram writes: a count for each bound and one
// for what is above all, then the sum of nanoseconds; padded at both ends.
type stripe struct{ numbers []atomic.Uint64 }

// padding is how many numbers fill the cache lines beside a stripe's own.
const padding = cacheLine / 8

func newHistogram(stripes uint32, bounds []float64) *Histogram {
	h := &Histogram{stripes: make([]stripe, stripes), mask: stripes - 1}
	for _, b := range bounds {
		h.bounds = append(h.bounds, int64(b*float64(time.Second)))
		h.texts = append(h.texts, strconv.FormatFloat(b, 'g', -1, 64))
	}
	for i := range h.stripes {
		all := make([]atomic.Uint64, len(bounds)+2+2*padding)
		h.stripes[i].numbers = all[padding : len(all)-padding]
	}
	return h
}

// Observe counts d for the caller's stripe; any index will do. A negative
// duration counts as 0.
func (h *Histogram) Observe(stripe uint32, d time.Duration) {
	n := max(int64(d), 0)
	numbers := h.stripes[stripe&h.mask].numbers
	i := 0
	for i < len(h.bounds) && n > h.bounds[i] {
		i++
	}
	numbers[i].Add(1)
	numbers[len(numbers)-1].Add(uint64(n))
}

// Count is how many durations were observed.
func (h *Histogram) Count() uint64 {
	var sum uint64
	for i := range h.stripes {
		numbers := h.stripes[i].numbers
		for j := range len(numbers) - 1 {
			sum += numbers[j].Load()
		}
	}
	return sum
}

func (h *Histogram) write(w *bufio.Writer, name, labels string) {
	sums := make([]uint64, len(h.bounds)+2)
	for i := range h.stripes {
		for j := range sums {
			sums[j] += h.stripes[i].numbers[j].Load()
		}
	}
	comma := ""
	if labels != "" {
		comma = ","
	}
	var total uint64
	for i := range len(h.bounds) + 1 {
		total += sums[i]
		bound := "+Inf"
		if i < len(h.texts) {
			bound = h.texts[i]
		}
		line(w, name+"_bucket", labels+comma+`le="`+bound+`"`, strconv.FormatUint(total, 10))
	}
	seconds := float64(sums[len(sums)-1]) / float64(time.Second)
	line(w, name+"_sum", labels, strconv.FormatFloat(seconds, 'g', -1, 64))
	line(w, name+"_count", labels, strconv.FormatUint(total, 10))
}
