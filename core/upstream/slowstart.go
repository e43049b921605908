package upstream

// warmSteps is in how many steps the weight of an endpoint grows that has just come into
// service: a step makes a new rotation, and more of them would be no smoother
// than the requests themselves.
const warmSteps = 10

// warmth is how many of warmSteps of its weight the endpoint of st has at now, and when it
// has more; never, when it has all of it.
func (s *ServiceSpec) warmth(st *state, now int64) (steps int, next int64) {
	if s.SlowStart <= 0 || st.warmFrom == 0 || now-st.warmFrom >= int64(s.SlowStart) {
		return warmSteps, never
	}
	done := (now - st.warmFrom) * warmSteps / int64(s.SlowStart)
	// Rounded up: a step must not be looked for just before it comes.
	next = st.warmFrom + ((done+1)*int64(s.SlowStart)+warmSteps-1)/warmSteps
	return max(int(done), 1), next
}

// scale is by what weights are multiplied whose next change is at next.
func scale(next int64) int {
	if next == never {
		return 1
	}
	return warmSteps
}

// weights are the weights of members at now, and when they change; never, if they don't.
// While one of them warms up they are scaled by warmSteps.
func (s *ServiceSpec) weights(members []Member, now int64) (weights []int, next int64) {
	next = never
	for _, m := range members {
		steps, due := s.warmth(m.state, now)
		weights, next = append(weights, m.Weight*steps), min(next, due)
	}
	if next == never {
		for i, m := range members {
			weights[i] = m.Weight
		}
	}
	return weights, next
}
