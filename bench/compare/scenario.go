package main

import (
	"fmt"
	"strings"
)

// scenario is one kind of request.
type scenario struct {
	name    string // of the -scenarios flag
	title   string
	method  string
	path    string // at the origin
	body    int    // bytes of the request body
	logging bool   // the proxies write an access log to a file
	tls     bool   // clients speak TLS to the proxies
	sockets bool   // clients open WebSockets
	closing bool   // each request has a connection of its own, and so a handshake
	shows   string // what credential the requests carry, if any, that proxies look at
	field   field  // that credential
	limits  string // mode of the limiter, where requests are charged at three levels
	guarded bool   // the service has all that keeps it from its callers, and them from it
	// subjects that take part; HAProxy logs to a socket, not to a file, so it is
	// left out where the log is what is measured. nginx verifies no tokens, nor does
	// HAProxy know API keys. HAProxy counts in its own memory, whatever our mode.
	subjects []string
}

// scenarios are all of them, in the order of the report.
func scenarios() []scenario {
	all := []string{ours, nginx, haproxy, direct}
	proxies := []string{ours, nginx, haproxy}
	return []scenario{
		{name: "small", title: "GET, 128 bytes", method: "GET", path: "/small", subjects: all},
		{name: "64k", title: "GET, 64 KiB", method: "GET", path: "/64k", subjects: all},
		{name: "stream", title: "GET, 128 KiB with a length, streamed", method: "GET", path: "/stream", subjects: all},
		{name: "chunked", title: "GET, 128 KiB in chunks, streamed", method: "GET", path: "/chunked", subjects: all},
		{name: "post", title: "POST of 1 KiB, answer of 128 bytes", method: "POST", path: "/small", body: 1 << 10, subjects: all},
		{name: "log", title: "GET, 128 bytes, access log to a file", method: "GET", path: "/small", logging: true, subjects: []string{ours, nginx, direct}},
		{name: "tls", title: "GET, 128 bytes, over TLS", method: "GET", path: "/small", tls: true, subjects: proxies},
		{name: "handshake", title: "GET, 128 bytes, a TLS handshake each", method: "GET", path: "/small", tls: true, closing: true, subjects: proxies},
		{name: "token", title: "GET, 128 bytes, with one known access token (RS256)", method: "GET", path: "/small", shows: showsToken, subjects: []string{ours, plain, haproxy}},
		{name: "key", title: "GET, 128 bytes, with one known API key", method: "GET", path: "/small", shows: showsKey, subjects: []string{ours, plain}},
		{name: "guarded", title: "GET, 128 bytes, with health checks, ejection, breaker, adaptive bulkhead and a split", method: "GET", path: "/small", guarded: true, subjects: []string{ours, plain}},
		policy("memory", "in memory"),
		policy("leased", "in Redis, leased"),
		policy("exact", "in Redis, asked each time"),
	}
}

// policy is the scenario of a caller with a known token whom three levels of limits
// count, in a mode of the limiter.
func policy(mode, where string) scenario {
	return scenario{name: "policy-" + mode, title: "GET, 128 bytes, a known access token, three limits counted " + where,
		method: "GET", path: "/small", shows: showsToken, limits: mode, subjects: []string{ours, plain, haproxy}}
}

// inRedis says whether the limits are counted in Redis.
func (sc *scenario) inRedis() bool { return sc.limits != "" && sc.limits != "memory" }

// url is the target of the scenario at an address, which is the origin's own or a
// proxy's.
func (sc *scenario) url(address string, origin bool) string {
	scheme := "http://"
	if sc.tls && !origin {
		scheme = "https://"
	}
	return scheme + address + sc.path
}

// choose returns what names lists, a comma between each, in their own order.
func choose[T any](all []T, names string, nameOf func(T) string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	var known []string
	chosen := make([]T, 0, len(all))
	left := strings.Split(names, ",")
	for _, one := range all {
		known = append(known, nameOf(one))
		for i, name := range left {
			if strings.TrimSpace(name) == nameOf(one) {
				chosen = append(chosen, one)
				left = append(left[:i], left[i+1:]...)
				break
			}
		}
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("unknown or twice: %s; there are %s", strings.Join(left, ", "), strings.Join(known, ", "))
	}
	return chosen, nil
}
