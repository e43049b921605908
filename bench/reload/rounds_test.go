//go:build !race

package main

// rounds are those in which latencies are compared; the race detector would be
// compared with itself.
const rounds = "5"
