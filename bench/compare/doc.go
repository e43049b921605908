// Command compare measures what the gateway costs beside nginx and HAProxy on
// the same machine: CPU time per request at saturation, requests a second,
// latencies and memory.
//
// One origin stands behind all of them. For each scenario the proxies run side by
// side, and rounds of load from wrk visit them one after the other in an order
// that is drawn anew for each lap, so that whatever else the machine does hits all
// alike. The figure that counts is the lower quartile of the CPU time per
// request: disturbances only ever add.
//
// A run is worth nothing if the proxies did not do the same work, so it aborts
// unless each kept its connections to the origin alive, had as many workers as
// the gateway, handed on every answer of the origin unchanged, answered no
// request by itself, and used CPU at all.
//
// With -open-loop it measures the other promise instead: latencies at a constant
// rate, by bench/load, and the memory meanwhile.
//
// With -websockets it measures WebSockets, with the demo's upstream behind the
// proxies: what many idle ones cost, and the echo of a few busy ones, in rounds as above.
//
// # How it is laid out
//
//	main.go       flags, and the order of things
//	scenario.go   what is asked for
//	policies.go   limits, and the Redis that counts them
//	subject.go    the proxies: how each is started, where it listens
//	configs.go    their configurations
//	process.go    child processes, free ports, missing tools
//	usage.go      CPU time and memory of processes
//	check.go      what must hold for a run to count
//	wrk.go        one round of load and how its output is read
//	rounds.go     laps, order, samples
//	stats.go      quantiles
//	loopback.go   the raw cost of a round trip on this machine
//	openloop.go   constant rates
//	websocket.go  WebSockets: the run, the echo
//	idle.go       WebSockets: what idle ones cost
//	messages.go   WebSockets: the report
//	report.go     tables
package main
