package main

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestScheduleIsEven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := plan{
			rate:        rapid.Float64Range(0.5, 1e6).Draw(t, "rate"),
			warmup:      time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(t, "warmup")),
			duration:    time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "duration")),
			threads:     rapid.IntRange(1, 16).Draw(t, "threads"),
			connections: 100,
		}
		n := p.slots()
		if want := p.rate * (p.warmup + p.duration).Seconds(); math.Abs(float64(n)-want) > 1 {
			t.Fatalf("%d requests, want %f", n, want)
		}
		if n > 0 && p.due(n-1) > p.warmup+p.duration {
			t.Fatalf("the last of %d is due at %v", n, p.due(n-1))
		}
		// No error adds up: the gap is the same at the end as at the beginning.
		i := rapid.Int64Range(0, max(n, 1)).Draw(t, "i")
		gap := float64(time.Second) / p.rate
		if got := float64(p.due(i+1) - p.due(i)); math.Abs(got-gap) > 2 {
			t.Fatalf("gap of %f ns after request %d, want %f", got, i, gap)
		}
		shared := 0
		for k := range p.threads {
			shared += p.share(k)
		}
		if shared != p.connections {
			t.Fatalf("%d connections shared out of %d", shared, p.connections)
		}
	})
}

func TestWarmUpIsNotRecorded(t *testing.T) {
	t.Parallel()
	p := plan{rate: 10, warmup: time.Second, duration: 2 * time.Second}
	for i, want := range map[int64]bool{0: false, 9: false, 10: true, 29: true} {
		if p.recorded(i) != want {
			t.Errorf("request %d recorded: %v", i, !want)
		}
	}
}

func TestSenselessPlansAreRefused(t *testing.T) {
	t.Parallel()
	good := plan{rate: 10, duration: time.Second, timeout: time.Second, connections: 2, threads: 2}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*plan){
		"no rate":           func(p *plan) { p.rate = 0 },
		"not a number":      func(p *plan) { p.rate = math.NaN() },
		"endless rate":      func(p *plan) { p.rate = math.Inf(1) },
		"no duration":       func(p *plan) { p.duration = 0 },
		"negative warm-up":  func(p *plan) { p.warmup = -1 },
		"no timeout":        func(p *plan) { p.timeout = 0 },
		"no thread":         func(p *plan) { p.threads = 0 },
		"idle thread":       func(p *plan) { p.connections = 1 },
		"nothing to be due": func(p *plan) { p.rate = 0.1 },
	} {
		p := good
		spoil(&p)
		if p.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		edge := rapid.Float64Range(2, 1e6).Draw(t, "edge")
		from := rapid.Float64Range(1, 1e6).Draw(t, "from")
		f, err := find(from, func(rate float64) (report, error) {
			return report{Rate: rate, Clean: rate <= edge}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if f.Rate > edge || f.Rate < edge/closeEnough/closeEnough {
			t.Fatalf("found %f, the edge is %f (%d trials)", f.Rate, edge, len(f.Trials))
		}
		if last := f.Trials[len(f.Trials)-1]; !last.Clean || last.Rate != f.Rate {
			t.Fatalf("found %f, confirmed by %+v", f.Rate, last)
		}
		if len(f.Trials) > 45 {
			t.Fatalf("%d trials", len(f.Trials))
		}
	})
}

func TestFindWhenNothingIsClean(t *testing.T) {
	t.Parallel()
	f, err := find(100, func(rate float64) (report, error) { return report{Rate: rate}, nil })
	if err != nil || f.Rate != 0 || len(f.Trials) == 0 {
		t.Errorf("found %f in %d trials (%v)", f.Rate, len(f.Trials), err)
	}
}

func TestFindStepsDownWhenUnconfirmed(t *testing.T) {
	t.Parallel()
	tries := map[float64]int{}
	f, err := find(1000, func(rate float64) (report, error) {
		tries[rate]++
		return report{Rate: rate, Clean: rate <= 1000 && tries[rate] == 1}, nil // never clean twice
	})
	if err != nil || f.Rate >= 1000 || f.Rate < 1000/closeEnough/closeEnough {
		t.Errorf("found %f (%v), want one step below 1000", f.Rate, err)
	}
}

func TestFindRepeatsTrialsTheMachineSpoilt(t *testing.T) {
	t.Parallel()
	n := 0
	f, err := find(fastest, func(rate float64) (report, error) {
		n++
		if n == 1 {
			return report{Rate: rate, Held: 2000}, nil
		}
		return report{Rate: rate, Clean: true}, nil
	})
	if err != nil || f.Rate != fastest {
		t.Errorf("found %f (%v)", f.Rate, err)
	}
}
