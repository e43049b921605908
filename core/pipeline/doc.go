// Package pipeline holds the words that the walk of a request is written in:
// the [Exchange] (one request with its response and all that is known of both),
// the fixed [Phase]s it passes, the [Hook]s that plugins run in them, the
// [Chain] of the hooks of one route, and the compiled [Route] itself.
//
// # Order
//
// The phases are fixed, and safe by their order: what refuses stands before
// what costs. A plugin chooses its phase, never its place against another
// plugin; within a phase, hooks run in the order of plugins/plugins.go.
//
//	decide:  Receive, [route], Guard, Authenticate, Authorize, Limit
//	forward: Request, Lookup, [proxy], Store, Response
//	end:     Log
//
// Response and Log hooks run for the gateway's own faults too.
//
// # Ownership
//
// An Exchange belongs to the goroutine that serves its connection until its End.
// All byte slices it hands out are borrowed: they die with the exchange.
package pipeline
