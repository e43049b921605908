package revocation

import (
	"sync/atomic"

	"github.com/suuupra/gateway/core/meter"
)

// metrics are the mirror's own.
type metrics struct {
	cut [whys]*meter.Counter
}

// counts are those of one store.
type counts struct {
	resyncs, again *meter.Counter
	taken, refused *meter.Counter // writes
	unread         *meter.Counter // reads that failed
	reads, writes  outcome
}

// outcome is how something went the last time.
type outcome struct{ last atomic.Int32 } // written when a store is asked

// What is known of it.
const (
	unheard = iota
	well
	badly
)

// set notes an outcome, and returns true if it is other than the last one.
func (o *outcome) set(err error) (news bool) {
	now := int32(well)
	if err != nil {
		now = badly
	}
	return o.last.Swap(now) != now
}

// The names of the stores, as labels.
const (
	durableName = "durable"
	pushName    = "push"
)

// publish shows what is known of the mirror and its stores.
func (m *Mirror) publish(set *meter.Set) {
	set.Gauge("gateway_revocation_mirror_age_seconds",
		"Time since the mirror of revocations knew all that a shared store did.",
		func() float64 { age, _ := m.State(); return age.Seconds() })
	set.Gauge("gateway_revocation_mirror_entries", "Revocations in the mirror.",
		func() float64 { return float64(m.entries.len()) })
	set.Gauge("gateway_revocation_stays", "Streams and WebSockets that a revocation would close.",
		func() float64 { return float64(m.stays.Len()) })
	m.metrics = &metrics{}
	for why := range whys {
		m.metrics.cut[why] = set.Counter("gateway_revocation_closed_total",
			"Streams and WebSockets that were closed for their caller's sake.", meter.Label{Name: "reason", Value: why.String()})
	}
	for s, name := range map[*source]string{&m.saved: durableName, &m.told: pushName} {
		s.name, s.counts = name, newCounts(set, meter.Label{Name: "source", Value: name})
	}
}

func newCounts(set *meter.Set, source meter.Label) *counts {
	const pushes, help = "gateway_revocation_pushes_total", "Writes of revocations to a store."
	label := func(value string) meter.Label { return meter.Label{Name: "outcome", Value: value} }
	return &counts{
		resyncs: set.Counter("gateway_revocation_resyncs_total", "Times that a store of revocations was read whole.", source),
		again:   set.Counter("gateway_revocation_repushed_total", "Revocations written again to a store that lacked them.", source),
		taken:   set.Counter(pushes, help, source, label("ok")),
		refused: set.Counter(pushes, help, source, label("error")),
		unread:  set.Counter("gateway_revocation_read_errors_total", "Reads of a store of revocations that failed.", source),
	}
}

// wrote counts a write, and returns true if it went other than the last one.
func (c *counts) wrote(err error) (news bool) {
	if err != nil {
		c.refused.Add(0, 1)
	} else {
		c.taken.Add(0, 1)
	}
	return c.writes.set(err)
}

// read counts a read likewise.
func (c *counts) read(err error) (news bool) {
	if err != nil {
		c.unread.Add(0, 1)
	}
	return c.reads.set(err)
}
