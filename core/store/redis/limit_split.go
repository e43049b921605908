package redis

import (
	_ "embed"
	"strconv"
	"time"

	"github.com/suuupra/gateway/core/limit"
)

//go:embed limit_refund.lua
var limitRefundScript string

// split is one request to several slots of a cluster.
type split struct {
	asks      []*ask
	decisions []decision
	of        []int // of each charge, the index in asks
	place     []int // and its place among the charges there
	timer     *time.Timer
}

// oneSlot says whether one call can decide.
func (e *ExactLimits) oneSlot(charges []limit.Charge) bool {
	if len(charges) == 1 {
		return true
	}
	var few [256]byte
	name := append(few[:0], e.client.prefix...)
	first := slotOf(append(name, charges[0].Key...))
	for i := range charges[1:] {
		if slotOf(append(name, charges[1+i].Key...)) != first {
			return false
		}
	}
	return true
}

// takeSplit decides by one call for each slot, all at once, and has those that took
// something give it back if another denied.
func (e *ExactLimits) takeSplit(charges []limit.Charge) (int, error) {
	s := e.splits.Get().(*split)
	defer e.putSplit(s)
	if err := e.divide(s, charges); err != nil {
		return 0, err
	}
	if err := e.askAll(s); err != nil {
		return 0, err
	}
	counts := make([]int, len(s.asks))
	for _, k := range s.of {
		counts[k]++
	}
	for k, a := range s.asks {
		d, err := readDecision(a.answer, counts[k])
		if err != nil {
			return 0, err
		}
		s.decisions = append(s.decisions, d)
	}
	denied := limit.Admitted
	for i := range charges {
		d := &s.decisions[s.of[i]]
		if err := d.report(s.place[i], &charges[i]); err != nil {
			return 0, err
		}
		if denied == limit.Admitted && d.denied == s.place[i] {
			denied = i
		}
	}
	if denied != limit.Admitted {
		return denied, e.refundAll(s, charges)
	}
	return denied, nil
}

// divide makes an ask for each slot.
func (e *ExactLimits) divide(s *split, charges []limit.Charge) error {
	var few [256]byte
	name := append(few[:0], e.client.prefix...)
	for i := range charges {
		slot, k := slotOf(append(name, charges[i].Key...)), 0
		for k < len(s.asks) && s.asks[k].slot != slot {
			k++
		}
		if k == len(s.asks) {
			a := e.gate.borrow(e.exact)
			a.slot = slot
			a.arguments = append(a.arguments, e.life)
			s.asks = append(s.asks, a)
		}
		s.of, s.place = append(s.of, k), append(s.place, len(s.asks[k].ends))
		if err := e.add(s.asks[k], &charges[i]); err != nil {
			return err
		}
	}
	for _, a := range s.asks {
		e.complete(a)
	}
	return nil
}

// askAll sends all asks and waits for all answers. If it fails those that are not back
// are the lanes', and no more in s.
func (e *ExactLimits) askAll(s *split) error {
	var failed error
	sent := 0
	for ; sent < len(s.asks) && failed == nil; sent++ {
		failed = e.gate.send(s.asks[sent])
	}
	if failed != nil {
		sent--
	}
	s.timer.Reset(e.gate.timeout)
	defer s.timer.Stop()
	late := s.timer.C
	for k, a := range s.asks[:sent] {
		if failed != nil {
			late = e.gate.past
		}
		if err := e.gate.wait(a, late); err != nil {
			failed = err
			s.asks[k] = nil
		}
	}
	return failed
}

// refundAll sends back what was taken where nothing denied. Nobody waits for that.
func (e *ExactLimits) refundAll(s *split, charges []limit.Charge) error {
	for k := range s.asks {
		d := &s.decisions[k]
		if d.denied != limit.Admitted {
			continue
		}
		a := e.gate.borrow(e.refund)
		a.slot = s.asks[k].slot
		a.arguments = append(a.arguments, strconv.FormatInt(d.at, 10))
		for i := range charges {
			if s.of[i] == k {
				if err := e.giveBack(a, d, s.place[i], &charges[i]); err != nil {
					e.gate.put(a)
					return err
				}
			}
		}
		e.complete(a)
		a.state.Store(askLeft)
		a.errand = true
		if err := e.gate.send(a); err != nil { // it stays charged
			e.gate.put(a)
		}
	}
	return nil
}

// giveBack adds a charge to an ask for a refund, and reports what is left after it.
func (e *ExactLimits) giveBack(a *ask, d *decision, place int, c *limit.Charge) error {
	terms, err := e.terms(c.Policy)
	if err != nil {
		return err
	}
	took, err := d.values[perCharge*place+3].ToInt64()
	if err != nil {
		return errGarbled
	}
	before, err := d.values[perCharge*place+4].ToInt64()
	if err != nil {
		return errGarbled
	}
	c.Remaining = min(max(c.Policy.Capacity()*terms.token-before, 0)/terms.token, c.Policy.Capacity())
	args := terms.arguments
	args[4] = strconv.FormatInt(before, 10)
	a.arguments = append(append(a.arguments, strconv.FormatInt(took, 10)), args[:]...)
	a.name(e.client.prefix, c.Key)
	return nil
}

func (e *ExactLimits) putSplit(s *split) {
	for k, a := range s.asks {
		if a != nil {
			e.gate.put(a)
		}
		s.asks[k] = nil
	}
	clear(s.decisions)
	s.asks, s.decisions, s.of, s.place = s.asks[:0], s.decisions[:0], s.of[:0], s.place[:0]
	e.splits.Put(s)
}
