package upstream

import (
	"context"
	"strings"
	"time"
)

// Recorder keeps what checks found out where others can see it.
type Recorder interface {
	// RecordHealth keeps all of records, of endpoints that it knows. It is called from
	// one goroutine at a time.
	RecordHealth(ctx context.Context, records []HealthRecord) error
}

// HealthRecord is a change of an endpoint's health.
type HealthRecord struct {
	Service string
	URL     string // http://host:port or https://host:port
	Health  Health
	At      time.Time // of the check that found it
}

// address is the host:port of the URL.
func (h *HealthRecord) address() string {
	_, address, _ := strings.Cut(h.URL, "://")
	return address
}

const (
	// recordEvery is how far apart two rounds of recording are at least: an endpoint
	// that flaps is written down as it is then, not as often as it changes.
	recordEvery = 5 * time.Second
	// recordWithin bounds one round.
	recordWithin = 5 * time.Second
	// recordBackoff is the longest wait after rounds that failed.
	recordBackoff = time.Minute
)

// record tells the Recorder of changes, until r ends. One that can't be reached is told
// later, of the last change of each endpoint alone.
func (c *checks) record(r *runner) {
	timer := c.Clock.NewTimer(time.Hour)
	defer timer.Stop()
	for wait := recordEvery; ; {
		select {
		case <-r.ctx.Done():
			return
		case <-r.changed:
		}
		if c.recordOnce(r.ctx) {
			wait = recordEvery
		} else {
			wait = min(2*wait, recordBackoff)
		}
		timer.Reset(wait)
		select {
		case <-r.ctx.Done():
			return
		case <-timer.C():
		}
	}
}

// recordOnce records what has changed since the last time. What could not be recorded
// stays pending.
func (c *checks) recordOnce(ctx context.Context) bool {
	c.mu.Lock()
	batch := make([]HealthRecord, 0, len(c.pending))
	for _, record := range c.pending {
		batch = append(batch, record)
	}
	clear(c.pending)
	c.mu.Unlock()
	if len(batch) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, recordWithin)
	defer cancel()
	err := c.Recorder.RecordHealth(ctx, batch)
	if err == nil {
		return true
	}
	c.Log.Warn().Err(err).Int("endpoints", len(batch)).Msg("the health of endpoints could not be recorded; it is tried again, and checks go on")
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, record := range batch {
		n := names{record.Service, record.address()}
		if _, newer := c.pending[n]; !newer && c.inForce(n) != nil {
			c.pending[n] = record
		}
	}
	if c.runner != nil {
		rouse(c.runner.changed)
	}
	return false
}
