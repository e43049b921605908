package limit

// Sweep lets all go that are worth nothing.
func (m *Memory) Sweep() {
	for i := range m.shards {
		m.sweep(&m.shards[i], m.clock.Mono())
	}
}
