//go:build race

package endtoend

// floodRounds: latencies are compared in the other pass.
const floodRounds = 0
