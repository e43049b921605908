// Command origin is the upstream of the benchmarks: it gives the same few
// answers as cheaply as one goroutine per connection can, so that what is
// measured is what stands in front of it. It counts what reached it, which is
// how a comparison knows that connections were kept alive and that no proxy
// answered by itself.
//
// Answers, to any method (a request body must have a Content-Length; it is read
// and dropped):
//
//	/small     128 bytes
//	/64k       64 KiB
//	/stream    128 KiB with a Content-Length
//	/chunked   128 KiB in chunks of 8 KiB
//	/stats     {"accepts":…,"open":…,"requests":…} in JSON, itself uncounted
//
// With -status 500 it gives that status in place of the answers, and with -share 0.5
// to half of the requests, picked at random: a release that is broken.
//
// Usage: origin [-listen HOST:PORT] [-status CODE] [-share SHARE]. It prints http://HOST:PORT once it accepts
// connections, and stops on SIGTERM.
package main
