//go:build !race

package meter_test

import (
	"testing"
	"time"

	"github.com/suuupra/gateway/core/meter"
)

func TestAllocsOfUpdates(t *testing.T) {
	s := meter.NewSet(time.Now)
	c := s.Counter("gateway_tries_total", "Tries.")
	h := s.Histogram("gateway_wait_seconds", "Waits.", []float64{.001, 1})
	r := s.Route("orders", "commerce")
	method, code := []byte("PATCH"), "rate_limited"
	for name, update := range map[string]func(){
		"counter":       func() { c.Add(3, 1) },
		"histogram":     func() { h.Observe(3, time.Millisecond) },
		"route":         func() { r.Observe(3, meter.MethodOf(method), 200, time.Millisecond) },
		"unknown":       func() { r.Observe(3, meter.MethodOf([]byte("BREW")), 299, time.Millisecond) },
		"fault":         func() { r.Fault(3, code) },
		"method's name": func() { _ = meter.MethodOf(method).String() },
	} {
		for range 5000 { // past the point where a histogram gets all its stripes
			update()
		}
		if n := testing.AllocsPerRun(1000, update); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkCounterAdd(b *testing.B) {
	c := meter.NewSet(time.Now).Counter("gateway_tries_total", "Tries.")
	for b.Loop() {
		c.Add(1, 1)
	}
}

func BenchmarkRouteObserve(b *testing.B) {
	r := meter.NewSet(time.Now).Route("orders", "commerce")
	method := []byte("GET")
	for _, d := range []time.Duration{300 * time.Microsecond, 40 * time.Millisecond, time.Minute} {
		b.Run(d.String(), func(b *testing.B) {
			for b.Loop() {
				r.Observe(1, meter.MethodOf(method), 200, d)
			}
		})
	}
}

func BenchmarkRouteObserveParallel(b *testing.B) {
	r := meter.NewSet(time.Now).Route("orders", "commerce")
	stripes := make(chan uint32, 1024)
	for i := range uint32(cap(stripes)) {
		stripes <- i
	}
	b.RunParallel(func(pb *testing.PB) {
		stripe := <-stripes
		for pb.Next() {
			r.Observe(stripe, 0, 200, 300*time.Microsecond)
		}
	})
}
