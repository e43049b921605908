//go:build !race

package gatewaytest_test

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// BenchmarkExchange is the whole walk, from a client's bytes to its answer, over
// loopback: listener, scanner, route, chain (every request logged to a file,
// security headers on), balancing, transport and metrics. Client and origin are
// loops that parse next to nothing, so that a profile shows the gateway and can
// guide its build.
func BenchmarkExchange(b *testing.B) {
	small := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 128\r\n\r\n"), make([]byte, 128)...)
	buffered := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 65536\r\n\r\n"), make([]byte, 65536)...)
	large := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 131072\r\n\r\n"), make([]byte, 131072)...)
	const fields = " HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n"
	for _, c := range []struct {
		name, request string
		answer        []byte
	}{
		{"GET", "GET /identity/users/42?fields=name" + fields + "\r\n", small},
		{"POST", "POST /identity/users" + fields + "Content-Type: application/json\r\nContent-Length: 1024\r\n\r\n" + string(make([]byte, 1024)), small},
		{"GET of 64 KiB", "GET /identity/film" + fields + "\r\n", buffered},
		{"GET of 128 KiB, streamed", "GET /identity/film" + fields + "\r\n", large},
	} {
		b.Run(c.name, func(b *testing.B) {
			g := gatewaytest.Run(b, fmt.Sprintf(`
services:
  identity: {endpoints: [{url: "%s"}]}
  content: {endpoints: [{url: "http://127.0.0.1:9"}]}
routes:
  identity: {match: {path: "/identity/{rest...}"}, service: identity}
  content: {match: {path: "/content/{id}/{rest...}"}, service: content}
  version: {match: {path: "/identity/{rest...}", headers: {X-Version: "2"}}, service: identity}
defaults: {plugins: {access_log: {to: %q, sample: 100%%}, security_headers: {}}}
`, steady(b, c.answer).URL(), filepath.Join(b.TempDir(), "access.log")))
			probe := gatewaytest.Dial(b, g.Address())
			probe.Write(c.request)
			size := len(probe.Read("GET")) // every answer is as long as the first
			request := []byte(c.request)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.SetParallelism(16) // clients for each processor
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", g.Address())
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				room := make([]byte, size)
				for pb.Next() {
					if _, err := conn.Write(request); err != nil {
						b.Error(err)
						return
					}
					if _, err := io.ReadFull(conn, room); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
