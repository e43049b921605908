// Package tunnel carries the bytes of connections that have left HTTP: WebSockets
// that pass through.
//
// # A tunnel's life
//
//  1. Before the service is asked, [Registry.Take] gives a [Seat], or says that the route has
//     enough of them.
//  2. After the 101, [Seat.Open] takes both connections with what was read from them too
//     early. Nothing of the exchange is left then, nor of the snapshot that it walked.
//  3. A mover carries bytes both ways. It ends a direction when its sender does, and the
//     tunnel when both have ended, when neither has sent anything for too long, or when
//     somebody asks for it.
//  4. The seat is free again, the endpoint busy with one connection less.
//
// # What an idle tunnel costs
//
// Two descriptors and the memory of a few small structs: no buffer, no
// goroutine, no timer. Where both connections are plain sockets, pollers (as many as
// the process has processors, poller.go) watch them all by epoll, each with one
// buffer for all its tunnels. Memory beyond that is held only for bytes that a slow reader
// has not taken, and nothing more is read for it meanwhile (pump.go). A descriptor is
// taken out of the runtime's own poller for that, which would wake up for it
// besides and keep what package net knows of it.
//
// Where one side is no plain socket, such as TLS, two goroutines copy (relay.go).
//
// # What is known of the bytes
//
// Nothing but where frames begin and end (frames.go, RFC 6455 §5.2). Close frames
// of the gateway's own so never stand inside a frame of the other side's: a tunnel
// that has to go says 1001 to both, or 1008 where its caller may no longer have it, waits a
// while for their answers, and closes.
package tunnel
