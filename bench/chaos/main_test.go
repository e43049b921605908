// Package chaos holds the gateway to what it promises while its services fail: real
// processes are killed, stopped, slowed down and replaced by broken ones under load of a
// constant rate, and each row of the table says how many requests failed, how long it took
// until the sick endpoint was left alone, and until it was back.
//
// `make chaos` runs it at CHAOS_RATE requests a second (5000) with faults of CHAOS_FAULT
// (10s) each; without these it is short and gentle enough for every test run. Latencies and
// failures are those that a client of the gateway sees, from when each request was due.
//
//	main_test.go     builds the programs
//	stand_test.go    the endpoints, the gateway and the load, each a process
//	fault_test.go    what goes wrong, and how it is made
//	measure_test.go  what a run tells
//	chaos_test.go    the rows
package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// binaries is the folder of the programs, built once.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	var err error
	if binaries, err = os.MkdirTemp("", "gateway-chaos-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binaries)
	// Without the profile, what other tests have compiled is used again.
	build := exec.Command("go", "build", "-pgo=off", "-trimpath", "-buildvcs=false", "-ldflags", "-X main.version=v1.2.3-test", "-o", binaries+"/",
		"./cmd/gateway", "./bench/load", "./bench/origin")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
