// Command upstream runs the six demo services that stand behind the gateway:
// identity, content, commerce, payments, live-classes and vod. They live in one
// process, each endpoint on its own port, and do whatever a test, a demo or a
// load run wants from an upstream: echo, sizes, delays, statuses, endless
// streams, WebSocket, health that can be switched off, and misbehaviour.
//
// # How it is laid out
//
//	main.go       flags, signals, the life of the process
//	listen.go     the -listen flag: service=host:port
//	endpoint.go   one listening endpoint: its server, routes and stop
//	describe.go   the answers in JSON: any path, /status, /slow, /health
//	echo.go       /echo: the request as it was received
//	bytes.go      /bytes: bodies of any size, the same bytes each time
//	stream.go     /sse: server-sent events
//	websocket.go  /ws: an echo over WebSocket
//	broken.go     /drop and /early: answers no upstream should give
//
// Every path is served bare and below the name of the service, so it does not
// matter whether the gateway strips its prefix: /echo and /identity/echo are
// the same to the identity service.
package main
