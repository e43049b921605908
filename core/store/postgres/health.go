package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/suuupra/gateway/core/upstream"
)

// Health writes what checks found out about endpoints into service_registry (SPEC UP2),
// for the endpoints that the table knows. It implements upstream.Recorder.
type Health struct{ db *DB }

// NewHealth writes into db. It owns nothing.
func NewHealth(db *DB) *Health { return &Health{db} }

var _ upstream.Recorder = (*Health)(nil)

// RecordHealth sets health_status, and last_health_check to when the check was that found
// it. Several gateways may write the same rows: the newest check counts.
func (h *Health) RecordHealth(ctx context.Context, records []upstream.HealthRecord) error {
	services, urls, states := make([]string, len(records)), make([]string, len(records)), make([]string, len(records))
	at := make([]time.Time, len(records))
	for i, r := range records {
		services[i], urls[i], states[i], at[i] = r.Service, r.URL, r.Health.String(), r.At
	}
	if _, err := h.db.pool.Exec(ctx, `
UPDATE service_registry AS known SET health_status = found.state, last_health_check = found.at
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS found (service, url, state, at)
WHERE known.service_name = found.service AND rtrim(known.endpoint_url, '/') = found.url
AND (known.last_health_check IS NULL OR known.last_health_check <= found.at)`, services, urls, states, at); err != nil {
		return fmt.Errorf("writing health into service_registry: %w", err)
	}
	return nil
}
