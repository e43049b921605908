package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/suuupra/gateway/core/revocation"
)

// Revocations is the durable record of revocations. It may be used concurrently.
type Revocations struct{ db *DB }

var _ revocation.Durable = (*Revocations)(nil)

// NewRevocations keeps revocations in db. It owns nothing.
func NewRevocations(db *DB) *Revocations { return &Revocations{db: db} }

// saveRevocations merges, row by row, into what refuses more. A row whose time has come is none
// any more. The rows are in order, so that two savers never wait for each other.
// now is the server's: a second more or less is within what entries are kept too long.
const saveRevocations = `
INSERT INTO revocations AS r (key, not_before, expires)
SELECT key, CASE WHEN min(not_before) = 0 THEN 0 ELSE max(not_before) END, max(expires)
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS e (key, not_before, expires)
GROUP BY key ORDER BY key COLLATE "C"
ON CONFLICT (key) DO UPDATE SET
    not_before = CASE
        WHEN r.expires <= extract(epoch FROM now()) THEN excluded.not_before
        WHEN least(r.not_before, excluded.not_before) = 0 THEN 0
        ELSE greatest(r.not_before, excluded.not_before) END,
    expires = CASE
        WHEN r.expires <= extract(epoch FROM now()) THEN excluded.expires
        ELSE greatest(r.expires, excluded.expires) END
WHERE r.expires < excluded.expires
    OR r.not_before <> 0 AND (excluded.not_before = 0 OR r.not_before < excluded.not_before)`

// Save implements revocation.Durable. Others are notified by the table itself.
func (r *Revocations) Save(ctx context.Context, entries []revocation.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	keys, notBefore, expires := make([]string, len(entries)), make([]int64, len(entries)), make([]int64, len(entries))
	for i, e := range entries {
		keys[i], notBefore[i], expires[i] = e.Key, e.NotBefore, e.Expires
	}
	if _, err := r.db.pool.Exec(ctx, saveRevocations, keys, notBefore, expires); err != nil {
		return fmt.Errorf("saving %d revocations: %w", len(entries), err)
	}
	return nil
}

// sinceRevocations returns what was written by a transaction that may not have been visible
// when the cursor was taken, and the oldest one that may not be visible now. Both are of one
// snapshot: what is older than the second is in it, or never will be. A row is left out
// only long after its time, for clocks that go wrong.
const sinceRevocations = `
SELECT pg_snapshot_xmin(pg_current_snapshot())::text, r.key, r.not_before, r.expires
FROM (SELECT) AS always
LEFT JOIN revocations AS r ON r.written >= $1::text::xid8 AND r.expires > extract(epoch FROM now()) - 300`

// Since implements revocation.Durable. The cursor is a transaction's id.
func (r *Revocations) Since(ctx context.Context, cursor string) (entries []revocation.Entry, next string, err error) {
	from, err := strconv.ParseUint(cursor, 10, 64)
	if err != nil {
		from = 0 // nothing was read yet
	}
	entries, to, err := r.since(ctx, from)
	if err == nil && to < from {
		// Another cluster, with ids of its own, stands where there was one: no id says anything.
		entries, to, err = r.since(ctx, 0)
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading revocations: %w", err)
	}
	return entries, strconv.FormatUint(to, 10), nil
}

func (r *Revocations) since(ctx context.Context, from uint64) (entries []revocation.Entry, to uint64, err error) {
	rows, err := r.db.pool.Query(ctx, sinceRevocations, strconv.FormatUint(from, 10))
	if err != nil {
		return nil, 0, err
	}
	var oldest string
	var key *string
	var notBefore, expires *int64
	_, err = pgx.ForEachRow(rows, []any{&oldest, &key, &notBefore, &expires}, func() error {
		if key == nil {
			return nil // there is nothing new
		}
		e := revocation.Entry{Key: *key, NotBefore: *notBefore, Expires: *expires}
		if err := e.Check(); err != nil {
			r.db.log.Warn().Err(err).Msg("the table of revocations holds what is none; it is refused, the others hold")
			return nil
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	to, err = strconv.ParseUint(oldest, 10, 64)
	return entries, to, err
}

// Watch implements revocation.Durable.
func (r *Revocations) Watch(ctx context.Context, woke func()) {
	r.db.Listen(ctx, "revocations", func(string) { woke() })
}

// Purge implements revocation.Durable.
func (r *Revocations) Purge(ctx context.Context, before int64) error {
	if _, err := r.db.pool.Exec(ctx, `DELETE FROM revocations WHERE expires < $1`, before); err != nil {
		return fmt.Errorf("purging revocations: %w", err)
	}
	return nil
}
