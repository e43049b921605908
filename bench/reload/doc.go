// Command reload shows that operators may change a gateway under load: it reloads the
// configuration again and again, and replaces the running program by another on the same
// listening socket, while bench/load keeps its schedule over kept-alive connections. Not
// one request may fail, and reloads may not make the slowest requests much slower.
//
// # What it does
//
//  1. It starts the benchmarks' origin and a gateway, with a listening socket that it
//     passes on as systemd does (LISTEN_FDS).
//  2. In each round it measures the latencies of quiet load, then of the same load with
//     reloads, the one in the middle with many more routes. The best round counts: on a shared
//     machine the others tell of the machine.
//  3. It starts a second gateway on the same socket, under load, and sends SIGTERM to
//     the first. That drains and must end with exit code 0.
//
// WebSockets talk to an echo all the while: reloads don't touch them, and the first
// gateway tells each of them to go away, upon which it comes back to the second.
//
// The load's connections heed "Connection: close", and nothing is ever sent again: a
// reset, a short or different answer, or a refused connection is a failure.
//
// # How it is laid out
//
//	main.go     flags, the table, the verdict
//	stand.go    builds and starts the processes
//	gateway.go  one gateway: its configuration, its socket, its probes
//	load.go     runs bench/load
//	sockets.go  the WebSockets
//	trial.go    the rounds and the replacement
package main
