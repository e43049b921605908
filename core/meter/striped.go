package meter

import (
	"bufio"
	"fmt"
	"math"
	"slices"
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

// scale is the bounds of a family's buckets.
type scale struct {
	seconds []float64
	bounds  []int64  // nanoseconds, ascending
	texts   []string // as values of le, +Inf last
}

func newScale(seconds []float64) *scale {
	s := &scale{seconds: slices.Clone(seconds)}
	for i, b := range seconds {
		if b <= 0 || (i > 0 && b <= seconds[i-1]) {
			panic(fmt.Sprintf("BUG: bounds %v do not ascend from above 0", seconds))
		}
		s.bounds = append(s.bounds, int64(math.Round(b*float64(time.Second))))
		s.texts = append(s.texts, strconv.FormatFloat(b, 'g', -1, 64))
	}
	s.texts = append(s.texts, "+Inf")
	return s
}

func (s *scale) of(seconds []float64) bool { return slices.Equal(s.seconds, seconds) }

// numbers is how many numbers a stripe has: one for each bucket, then the sum of
// what was observed, in microseconds. Nanoseconds would go round in weeks where
// ten thousand streams are open at any time.
func (s *scale) numbers() int { return len(s.texts) + 1 }

// Histogram counts durations by upper bound. Observe is for any number of
// goroutines at once.
type Histogram struct {
	scale   *scale
	stripes uint32
	first   []atomic.Uint64      // all there is while hardly anybody comes
	wide    atomic.Pointer[wide] // written once, by whoever finds first busy
}

// wide is the stripes of a histogram, one behind the other. The gap between two is
// as long as a cache line, so they share none wherever the first one lies.
type wide struct {
	numbers      []atomic.Uint64
	stride, mask uint32
	each         uint32
}

// gap is how many numbers fill a cache line.
const gap = cacheLine / 8

// busy is how often one bucket of a histogram is written until it gets all its
// stripes.
const busy = 1024

// start readies the zero value.
func (h *Histogram) start(s *scale, stripes uint32) {
	h.scale, h.stripes, h.first = s, stripes, make([]atomic.Uint64, s.numbers())
}

// of is what one stripe writes.
func (w *wide) of(stripe uint32) []atomic.Uint64 {
	from := (stripe & w.mask) * w.stride
	return w.numbers[from : from+w.each]
}

func (h *Histogram) widen() {
	each := uint32(len(h.first))
	w := &wide{stride: each + gap, mask: h.stripes - 1, each: each}
	all := make([]atomic.Uint64, h.stripes*w.stride+gap)
	w.numbers = all[gap:]
	h.wide.CompareAndSwap(nil, w)
}

// Observe counts d for the caller's stripe; any index will do. A negative
// duration counts as 0.
func (h *Histogram) Observe(stripe uint32, d time.Duration) {
	n := max(int64(d), 0)
	bounds, i := h.scale.bounds, 0
	for i < len(bounds) && n > bounds[i] {
		i++
	}
	numbers, w := h.first, h.wide.Load()
	if w != nil {
		numbers = w.of(stripe)
	}
	if numbers[i].Add(1) == busy && w == nil && h.stripes > 1 {
		h.widen()
	}
	numbers[len(numbers)-1].Add(uint64(n+500) / 1000)
}

// sums adds the stripes up.
func (h *Histogram) sums() []uint64 {
	sums := make([]uint64, len(h.first))
	for i := range h.first {
		sums[i] = h.first[i].Load()
	}
	if w := h.wide.Load(); w != nil {
		for stripe := range h.stripes {
			numbers := w.of(stripe)
			for i := range numbers {
				sums[i] += numbers[i].Load()
			}
		}
	}
	return sums
}

// Count is how many durations were observed.
func (h *Histogram) Count() uint64 {
	sums := h.sums()
	var all uint64
	for _, n := range sums[:len(sums)-1] {
		all += n
	}
	return all
}

func (h *Histogram) write(w *bufio.Writer, name, labels string) {
	sums := h.sums()
	le := `le="`
	if labels != "" {
		le = labels + `,le="`
	}
	var all uint64
	for i, text := range h.scale.texts {
		all += sums[i]
		line(w, name+"_bucket", le+text+`"`, strconv.FormatUint(all, 10))
	}
	seconds := float64(sums[len(sums)-1]) / 1e6
	line(w, name+"_sum", labels, strconv.FormatFloat(seconds, 'g', -1, 64))
	line(w, name+"_count", labels, strconv.FormatUint(all, 10))
}
