package upstream

import "time"

// verdict is the state machine of one endpoint's health:
//
//	unknown   ── passed ─────────► healthy
//	unknown   ── fall × failed ──► unhealthy
//	healthy   ── fall × failed ──► unhealthy     fall of them in a row
//	unhealthy ── rise × passed ──► healthy       likewise
//
// The first check that passes is believed at once: an endpoint of which nothing is
// known gets requests all the same, and rise is there to keep one out that had failed.
type verdict struct {
	health Health
	row    int // checks in a row that speak against health
	misses int // failed checks in a row while unhealthy: each doubles the interval
}

// note takes in one check, and says whether the health changed.
func (v *verdict) note(passed bool, h *HealthCheck) (changed bool) {
	if passed == (v.health == Healthy) && v.health != Unknown {
		v.row = 0
		if !passed {
			v.misses++
		}
		return false
	}
	if passed {
		v.misses = 0
	}
	v.row++
	switch {
	case passed && v.health == Unknown, passed && v.row >= h.Rise:
		*v = verdict{health: Healthy}
		return true
	case passed:
		return false
	case v.row >= h.Fall:
		*v = verdict{health: Unhealthy}
		return true
	}
	return false
}

// pause is how long after the last check the next one comes, without jitter.
func (v *verdict) pause(h *HealthCheck) time.Duration {
	d := h.Interval
	for i := 0; i < v.misses && d < h.Backoff; i++ {
		d *= 2
	}
	return max(min(d, h.Backoff), h.Interval)
}
