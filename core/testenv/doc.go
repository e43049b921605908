// Package testenv starts the servers that tests need, each test binary its own: a
// private redis-server, a private PostgreSQL and a private Consul on free ports of
// loopback, in temporary directories. They end with the binary, however it ends. It
// serves tests alone.
//
// A server that is not installed fails the test, and says which package is missing, or
// how to build it: a test that skips proves nothing.
package testenv
