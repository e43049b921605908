package main

import (
	"context"
	"fmt"
	"net"
)

// gatewayPolicies charges each request at three levels, none of which is ever
// exhausted: what is measured is what admitting costs.
const gatewayPolicies = `policies:
  each: {algorithm: token_bucket, rate: 1000000/1s, burst: 1000000}
  all: {algorithm: token_bucket, rate: 2000000/1s, burst: 2000000}
limiter: {mode: %s, on_store_error: deny}
`

// gatewayLevels are the levels of gatewayPolicies.
const gatewayLevels = ", rate_limit: {levels: {user: {policy: each}, route: {policy: all}, global: {policy: all}}}"

// haproxyTables and haproxyCounts count the same by the nearest that HAProxy has:
// rates over a second, in one table for each level.
const (
	haproxyTables = `backend users
  stick-table type string len 64 size 100k expire 60s store http_req_rate(1s)
backend routes
  stick-table type string len 64 size 1k expire 60s store http_req_rate(1s)
backend everything
  stick-table type integer size 1k expire 60s store http_req_rate(1s)
`
	haproxyCounts = `  http-request track-sc0 var(txn.token),jwt_payload_query('$.sub') table users
  http-request track-sc1 str(all) table routes
  http-request track-sc2 int(1) table everything
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000 }
  http-request deny deny_status 429 if { sc_http_req_rate(1) gt 2000000 }
  http-request deny deny_status 429 if { sc_http_req_rate(2) gt 2000000 }
`
)

// startRedis starts a Redis that keeps nothing, for the scenarios whose limits are
// counted there.
func (st *stand) startRedis(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	program, err := lookTool("redis-server")
	if err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	p, err := startProcess(st.dir, "redis", nil, program, "--bind", "127.0.0.1", "--port", fmt.Sprint(port),
		"--save", "", "--appendonly", "no", "--dir", st.dir)
	if err != nil {
		return err
	}
	st.redis = &subject{name: "redis", address: fmt.Sprintf("127.0.0.1:%d", port), process: p}
	return p.await(ctx, func() error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", st.redis.address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
