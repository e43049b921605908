package session

// SetHorizon stands in for Run.
func (s *Sessions) SetHorizon(seconds int64) { s.sightings.horizon.Store(seconds) }
