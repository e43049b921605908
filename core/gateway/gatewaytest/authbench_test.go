//go:build !race

package gatewaytest_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// BenchmarkAuthenticated measures what a known token or key adds to a request, in
// processor time, by rounds of all kinds one after the other: a busy machine disturbs
// them alike. Client, gateway and origin are one process, so that only the
// differences tell of the gateway; "plain-ns" is of all three.
func BenchmarkAuthenticated(b *testing.B) {
	small := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 128\r\n\r\n"), make([]byte, 128)...)
	id := gatewaytest.NewIdentity(b)
	g := gatewaytest.RunOptions(b, fmt.Sprintf(`
services: {a: {endpoints: [{url: "%s"}]}}
routes:
  open: {match: {path: "/open/{rest...}"}, service: a, plugins: {auth: off}}
  shut: {match: {path: "/shut/{rest...}"}, service: a, plugins: {auth: {scopes: {all: ["courses:read"]}}}}
`, steady(b, small).URL()), gatewaytest.Options{Identity: &id.Identity})
	const fields = " HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n"
	bearer, key := "Authorization: Bearer "+id.Token("ann", "courses")+"\r\n", "X-API-Key: "+id.Key("courses")+"\r\n"
	requests := []string{
		"GET /open/a" + fields + "\r\n",
		"GET /open/a" + fields + bearer + "\r\n", // read and sent on, and not looked at
		"GET /shut/a" + fields + bearer + "\r\n",
		"GET /shut/a" + fields + key + "\r\n",
	}
	const rounds = 9
	for b.Loop() {
		costs := make([][]float64, len(requests))
		for range rounds {
			for i, request := range requests {
				costs[i] = append(costs[i], processorTime(b, g.Address(), request))
			}
		}
		for i := range costs {
			slices.Sort(costs[i])
		}
		const quarter = rounds / 4
		plain := costs[0][quarter]
		b.ReportMetric(plain, "plain-ns")
		b.ReportMetric(costs[1][quarter]-plain, "carried-token-ns")
		b.ReportMetric(costs[2][quarter]-plain, "token-ns")
		b.ReportMetric(costs[3][quarter]-plain, "key-ns")
	}
}

// processorTime is nanoseconds of the process for each of many requests by 16 clients.
func processorTime(b *testing.B, address, request string) float64 {
	b.Helper()
	const clients, each = 16, 200
	probe := gatewaytest.Dial(b, address)
	probe.Write(request)
	size := len(probe.Read("GET"))
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			room := make([]byte, size)
			for range each {
				if _, err := io.WriteString(conn, request); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(conn, room); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	spent := func(u *syscall.Rusage) int64 { return u.Utime.Nano() + u.Stime.Nano() }
	return float64(spent(&after)-spent(&before)) / (clients * each)
}
