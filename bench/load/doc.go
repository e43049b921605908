// Command load sends HTTP/1.1 requests at a constant rate and measures, for
// each, the time from the moment it was *due* until its answer was complete and
// compared with the expected one.
//
// The schedule is fixed before the first byte leaves: request i is due i/rate
// after the start, whatever the server does. A server that stalls therefore
// delays every request that became due meanwhile, and each of them counts with
// its whole wait; a generator that sends the next request only after the last
// answer would measure the stall once (coordinated omission).
//
// It speaks over sockets of its own, watched by epoll, and never sends a request
// twice: a reset, a short or different answer, a timeout and a request that found
// no connection in time are failures, and count in the latencies too.
//
// # How it is laid out
//
//	main.go        flags and output
//	plan.go        what one run does: the schedule, the request, the limits
//	request.go     the bytes of the request, from the flags
//	answer.go      the incremental reader that compares an answer
//	reference.go   asks for the expected answer, before the run
//	loop.go        one thread: sends what is due, handles what is ready
//	connection.go  one socket and what happens to it
//	result.go      counts and latencies, of one loop and of all
//	report.go      JSON, and a table for people
//	find.go        the search for the highest clean rate
package main
