package postgres_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/testenv"
	"github.com/suuupra/gateway/core/upstream"
)

// TestUP2_HealthIsWrittenDown for the endpoints that the table knows, and not by a check
// that is older than what stands there.
func TestUP2_HealthIsWrittenDown(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	conn, h := connect(t, url), postgres.NewHealth(open(t, url))
	if _, err := conn.Exec(t.Context(), `INSERT INTO service_registry (service_name, endpoint_url) VALUES
		('a', 'http://10.0.0.1:80'), ('a', 'https://10.0.0.2:443/'), ('b', 'http://10.0.0.1:80'), ('a', 'http://10.0.0.4:80')`); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	record := func(url string, health upstream.Health, at time.Time) upstream.HealthRecord {
		return upstream.HealthRecord{Service: "a", URL: url, Health: health, At: at}
	}
	for _, records := range [][]upstream.HealthRecord{
		{record("http://10.0.0.1:80", upstream.Unhealthy, at), record("https://10.0.0.2:443", upstream.Healthy, at), record("http://10.0.0.3:80", upstream.Healthy, at)},
		{record("http://10.0.0.1:80", upstream.Healthy, at.Add(-time.Second)), record("https://10.0.0.2:443", upstream.Unhealthy, at.Add(time.Second))},
		{},
	} {
		if err := h.RecordHealth(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := conn.Query(t.Context(), `SELECT concat_ws(' ', service_name, endpoint_url, health_status, to_char(last_health_check AT TIME ZONE 'UTC', 'HH24:MI:SS')) FROM service_registry ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	if diff := cmp.Diff([]string{
		"a http://10.0.0.1:80 unhealthy 03:04:05", "a https://10.0.0.2:443/ unhealthy 03:04:06",
		"b http://10.0.0.1:80 unknown", "a http://10.0.0.4:80 unknown",
	}, got); diff != "" || rows.Err() != nil {
		t.Errorf("the table (-want +got), %v:\n%s", rows.Err(), diff)
	}
}
