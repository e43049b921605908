//go:build race

package main

// rounds: latencies are compared in the other pass.
const rounds = "0"
