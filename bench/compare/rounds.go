package main

import (
	"context"
	"fmt"
	"time"
)

// warmUp is the length of the round that each subject gets before the others
// begin; it is checked, but not counted.
const warmUp = time.Second

// sample is one round in the units of the report.
type sample struct {
	cpu            float64 // µs of CPU time of the subject's processes a request
	rate           float64 // requests a second
	p50, p99, p999 float64 // ms
	others         float64 // cores that processes used which have no part in the run
}

// measured is what all rounds of one scenario say of one subject.
type measured struct {
	subject string
	samples []sample
	memory  int64 // the most that was resident after a round, in bytes
}

// column returns one figure of all samples.
func (m *measured) column(of func(sample) float64) []float64 {
	column := make([]float64, len(m.samples))
	for i, s := range m.samples {
		column[i] = of(s)
	}
	return column
}

// measure runs a scenario: starts its subjects, checks them, sends laps of
// rounds, checks again, and stops them.
func (st *stand) measure(ctx context.Context, sc *scenario) ([]measured, error) {
	var subjects []*subject
	defer func() { st.stopAll(subjects) }()
	for _, name := range sc.subjects {
		if !st.wants(name) {
			continue
		}
		s, err := st.start(ctx, name, sc)
		if err != nil {
			return nil, err
		}
		subjects = append(subjects, s)
	}
	if err := st.checkAnswers(ctx, subjects, sc); err != nil {
		return nil, err
	}
	for _, s := range subjects {
		if err := checkWorkers(s, st.workers); err != nil {
			return nil, err
		}
		if _, err := st.round(ctx, s, sc, warmUp); err != nil {
			return nil, err
		}
	}
	all, err := st.laps(ctx, subjects, sc)
	if err != nil {
		return nil, err
	}
	return all, st.checkAnswers(ctx, subjects, sc)
}

// laps visits the subjects in a new order for each lap.
func (st *stand) laps(ctx context.Context, subjects []*subject, sc *scenario) ([]measured, error) {
	all := make([]measured, len(subjects))
	for lap := range st.rounds {
		text := fmt.Sprintf("%s %d/%d:", sc.name, lap+1, st.rounds)
		for _, i := range st.draw.Perm(len(subjects)) {
			s, m := subjects[i], &all[i]
			r, err := st.round(ctx, s, sc, st.duration)
			if err != nil {
				return nil, err
			}
			pids, err := s.pids()
			if err != nil {
				return nil, err
			}
			resident, err := memory(pids)
			if err != nil {
				return nil, err
			}
			m.subject = s.name
			m.memory = max(m.memory, resident)
			m.samples = append(m.samples, r.sample())
			text += fmt.Sprintf("  %s %.2f µs", s.name, r.sample().cpu)
		}
		st.say("%s\n", text)
	}
	return all, nil
}

// round loads one subject for a while, and makes sure that the round counts.
func (st *stand) round(ctx context.Context, s *subject, sc *scenario, d time.Duration) (*round, error) {
	pids, err := s.pids()
	if err != nil {
		return nil, err
	}
	// The origin and Redis work for the proxies; their time is no stranger's.
	behind := st.behind()
	r := &round{subject: s.name, connections: st.connections}
	if r.before, err = originCounts(ctx, st.origin.address); err != nil {
		return nil, err
	}
	from, err := clocks(pids, behind)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if r.wrk, err = st.runWrk(ctx, s.address, sc, d); err != nil {
		return nil, err
	}
	r.took = time.Since(start)
	to, err := clocks(pids, behind)
	if err != nil {
		return nil, err
	}
	r.cpu = to.subject - from.subject
	r.all = to.machine - from.machine
	r.part = r.cpu + r.wrk.CPU
	r.part += to.behind - from.behind
	if s == st.origin {
		r.part -= r.cpu // it stands behind itself
	}
	if r.after, err = originCounts(ctx, st.origin.address); err != nil {
		return nil, err
	}
	return r, r.check()
}

// behind are the processes that proxies ask.
func (st *stand) behind() []int {
	pids := []int{st.origin.process.pid()}
	if st.redis != nil {
		pids = append(pids, st.redis.process.pid())
	}
	return pids
}

// cpuClocks are CPU times at one moment: of the subject, of what it asks and who asks
// it, and of the machine.
type cpuClocks struct {
	subject, behind, machine time.Duration
}

func clocks(pids, behind []int) (c cpuClocks, err error) {
	if c.subject, err = cpuTime(pids); err != nil {
		return c, err
	}
	if c.behind, err = cpuTime(behind); err != nil {
		return c, err
	}
	c.machine, err = machineTime()
	return c, err
}
