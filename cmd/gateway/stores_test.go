package main

import (
	"fmt"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/suuupra/gateway/core/testenv"
)

const checkedService = `listen: {public: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
directory: state
shutdown: {delay: 0s, drain: 5s}
stores: {postgres: {url: %q}}
services: {a: {endpoints: [{url: "http://%s"}], health: {tcp: true, interval: 100ms, timeout: 50ms, rise: 1, fall: 1, backoff: 100ms}}}
routes: {a: {match: {path: /a}, service: a, plugins: {auth: off}}}
`

// TestUP2_TheDatabaseKnowsWhoIsHealthy looks at the row of an endpoint that comes and goes.
func TestUP2_TheDatabaseKnowsWhoIsHealthy(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	endpoint, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer endpoint.Close()
	if _, err := conn.Exec(t.Context(), "INSERT INTO service_registry (service_name, endpoint_url) VALUES ('a', $1)", "http://"+endpoint.Addr().String()); err != nil {
		t.Fatal(err)
	}
	r := boot(t, fmt.Sprintf(checkedService, url, endpoint.Addr()), serveOptions{})
	is := func(want string) func() bool {
		return func() bool {
			var health string
			var checked bool
			if err := conn.QueryRow(t.Context(), "SELECT health_status, last_health_check IS NOT NULL FROM service_registry").Scan(&health, &checked); err != nil {
				t.Fatal(err)
			}
			return health == want && checked
		}
	}
	r.eventually("healthy", is("healthy"))
	_ = endpoint.Close()
	r.eventually("unhealthy", is("unhealthy"))
}
