package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/suuupra/gateway/core/limit"
)

// Policies are the rows of rate_limit_policies (SPEC RL7).
type Policies struct{ db *DB }

// NewPolicies reads the policies in db. It owns nothing.
func NewPolicies(db *DB) *Policies { return &Policies{db} }

// Load returns the policies of the table by name, and why each of the other rows makes
// none: it costs itself alone.
func (p *Policies) Load(ctx context.Context) (all map[string]*limit.Policy, bad map[string]error, err error) {
	rows, err := p.db.pool.Query(ctx, `
SELECT policy_name, algorithm, requests_per_minute, burst_capacity, window_size_seconds FROM rate_limit_policies ORDER BY policy_name COLLATE "C"`)
	if err != nil {
		return nil, nil, policiesError(err)
	}
	all, bad = map[string]*limit.Policy{}, map[string]error{}
	var name, algorithm string
	var perMinute, burst, window int64
	_, err = pgx.ForEachRow(rows, []any{&name, &algorithm, &perMinute, &burst, &window}, func() error {
		policy, err := policyOf(algorithm, perMinute, burst, window)
		if name == "" {
			err = errors.New("it has no name")
		}
		if err != nil {
			bad[name] = err
			return nil
		}
		policy.Name = name
		all[name] = policy
		return nil
	})
	if err != nil {
		return nil, nil, policiesError(err)
	}
	return all, bad, nil
}

// policyOf reads the numbers of one row.
func policyOf(algorithm string, perMinute, burst, window int64) (*limit.Policy, error) {
	p := &limit.Policy{Count: perMinute, Per: time.Minute}
	switch algorithm {
	case limit.TokenBucket.String():
		p.Algorithm, p.Burst = limit.TokenBucket, burst
		return p, p.Validate()
	case limit.SlidingWindow.String():
		p.Algorithm = limit.SlidingWindow
	case limit.SlidingLog.String():
		p.Algorithm = limit.SlidingLog
	default:
		return nil, fmt.Errorf("%.64q is no algorithm", algorithm)
	}
	// Both are 32 bits in the table.
	if p.Count, p.Per = perMinute*window/60, time.Duration(window)*time.Second; p.Count == 0 {
		return nil, fmt.Errorf("%d requests a minute are less than one in %d s: a longer window_size_seconds admits some", perMinute, window)
	}
	return p, p.Validate()
}

// Watch calls woke when the table may have changed, until ctx is done.
func (p *Policies) Watch(ctx context.Context, woke func()) {
	p.db.Listen(ctx, "rate_limit_policies", func(string) { woke() })
}

func policiesError(err error) error {
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code[:min(2, len(answer.Code))] == "42" { // most likely: no such column
		return fmt.Errorf("reading rate-limit policies (was `gateway migrate up` run?): %w", err)
	}
	return fmt.Errorf("reading rate-limit policies: %w", err)
}
