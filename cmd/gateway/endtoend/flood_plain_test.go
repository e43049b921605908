//go:build !race

package endtoend

// floodRounds are those in which latencies are compared.
const floodRounds = 5
