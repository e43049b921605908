package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/suuupra/gateway/core/apikey"
)

// apiKeysChannel is where the triggers of 00006 tell of changes, as "id revision".
const apiKeysChannel = "api_keys"

// APIKeys keeps API keys, their usage and clients. Its methods may be called
// concurrently.
type APIKeys struct{ db *DB }

var (
	_ apikey.Store       = (*APIKeys)(nil)
	_ apikey.ClientStore = (*APIKeys)(nil)
)

// NewAPIKeys returns the keys and clients of a database.
func NewAPIKeys(db *DB) *APIKeys { return &APIKeys{db} }

// apiKeyFailed says what went wrong; what is not one of ours is ErrUnavailable.
func apiKeyFailed(what string, err error) error {
	const uniqueViolation, foreignKeyViolation = "23505", "23503" // PostgreSQL's manual, appendix A
	var state *pgconn.PgError
	switch {
	case errors.Is(err, apikey.ErrUnknown), errors.Is(err, apikey.ErrConflict), errors.Is(err, apikey.ErrNoClient):
		return fmt.Errorf("%s: %w", what, err)
	case errors.As(err, &state) && state.Code == uniqueViolation:
		return fmt.Errorf("%s: %w", what, apikey.ErrExists)
	case errors.As(err, &state) && state.Code == foreignKeyViolation:
		return fmt.Errorf("%s: %w", what, apikey.ErrNoClient)
	default:
		return fmt.Errorf("%s: %w: %w", what, apikey.ErrUnavailable, err)
	}
}

// selectKeys reads whole records in one statement, so that they are of one moment.
const selectKeys = `
SELECT k.key_id, k.name, coalesce(k.client_id::text, ''), k.user_id, k.scopes, k.policy, k.allow_from::text[],
       k.expires_at, k.is_active, k.revision, k.created_at, u.last_used,
       coalesce(c.is_active, true) AND k.user_active, coalesce(c.scopes, '{}'), coalesce(nullif(c.policy, ''), p.policy_name, ''),
       v.numbers, v.hashes, v.created, v.untils
FROM api_keys k
LEFT JOIN api_clients c ON c.id = k.client_id
LEFT JOIN rate_limit_policies p ON p.id = c.rate_limit_policy_id
LEFT JOIN api_key_last_used u ON u.key = k.id
CROSS JOIN LATERAL (
    SELECT array_agg(number ORDER BY number) numbers, array_agg(hash ORDER BY number) hashes,
           array_agg(created_at ORDER BY number) created, array_agg(until ORDER BY number) untils
    FROM (SELECT * FROM api_key_versions WHERE key = k.id ORDER BY number DESC LIMIT 4) newest
) v
`

// scanKey reads one row of selectKeys.
func scanKey(row pgx.CollectableRow) (apikey.Record, error) {
	var (
		r             apikey.Record
		from          []string
		expires, used *time.Time
		created       time.Time
		numbers       []int
		hashes        [][]byte
		begun         []time.Time
		untils        []*time.Time
	)
	if err := row.Scan(&r.ID, &r.Name, &r.Client, &r.User, &r.Scopes, &r.Policy, &from,
		&expires, &r.Active, &r.Revision, &created, &used,
		&r.Owner.Active, &r.Owner.Scopes, &r.Owner.Policy, &numbers, &hashes, &begun, &untils); err != nil {
		return apikey.Record{}, err
	}
	r.Expires, r.Created, r.LastUsed = keySeconds(expires), created.Unix(), keySeconds(used)
	if r.Client == "" {
		r.Owner.Scopes = nil
	}
	for _, text := range from {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return apikey.Record{}, fmt.Errorf("key %s: reading where it may be used from: %w", r.ID, err)
		}
		r.AllowFrom = append(r.AllowFrom, p)
	}
	for i, n := range numbers {
		v := apikey.Version{Number: n, Created: begun[i].Unix(), Until: keySeconds(untils[i])}
		copy(v.Hash[:], hashes[i])
		r.Versions = append(r.Versions, v)
	}
	return r, nil
}

// keySeconds is a time as unix seconds, 0 for none.
func keySeconds(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// keyMoment is unix seconds as a time, null for 0.
func keyMoment(unix int64) *time.Time {
	if unix == 0 {
		return nil
	}
	t := time.Unix(unix, 0)
	return &t
}

// Load returns a key with its owner, or ErrUnknown.
func (a *APIKeys) Load(ctx context.Context, id string) (apikey.Record, error) {
	what := fmt.Sprintf("loading key %.64q", id)
	if apikey.CheckID(id) != nil {
		return apikey.Record{}, fmt.Errorf("%s: %w", what, apikey.ErrUnknown)
	}
	rows, err := a.db.pool.Query(ctx, selectKeys+"WHERE k.key_id = $1", id)
	if err != nil {
		return apikey.Record{}, apiKeyFailed(what, err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanKey)
	if errors.Is(err, pgx.ErrNoRows) {
		err = apikey.ErrUnknown
	}
	if err != nil {
		return apikey.Record{}, apiKeyFailed(what, err)
	}
	return r, nil
}

// List returns all keys, by id.
func (a *APIKeys) List(ctx context.Context) ([]apikey.Record, error) {
	rows, err := a.db.pool.Query(ctx, selectKeys+"ORDER BY k.key_id")
	if err != nil {
		return nil, apiKeyFailed("listing the keys", err)
	}
	all, err := pgx.CollectRows(rows, scanKey)
	if err != nil {
		return nil, apiKeyFailed("listing the keys", err)
	}
	return all, nil
}

// keyPrefixes are prefixes as PostgreSQL reads them.
func keyPrefixes(prefixes []netip.Prefix) []string {
	all := make([]string, 0, len(prefixes))
	for _, p := range prefixes {
		all = append(all, p.String())
	}
	return all
}

// keyTexts is s, never null.
func keyTexts(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// keyOwner is a client's id as the database has it: null for none.
func keyOwner(id string) (*string, error) {
	if id == "" {
		return nil, nil
	}
	if !isClientID(id) {
		return nil, fmt.Errorf("client %.64q: %w", id, apikey.ErrNoClient)
	}
	return &id, nil
}

// isClientID says whether PostgreSQL takes s for a UUID as it stands.
func isClientID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Create keeps a new key, at revision 1.
func (a *APIKeys) Create(ctx context.Context, r apikey.Record) error {
	if err := r.Check(); err != nil {
		return err
	}
	what := "creating key " + r.ID
	client, err := keyOwner(r.Client)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	err = pgx.BeginFunc(ctx, a.db.pool, func(tx pgx.Tx) error {
		var key string
		err := tx.QueryRow(ctx, `
INSERT INTO api_keys (key_id, name, client_id, user_id, scopes, policy, allow_from, expires_at, is_active, created_at)
VALUES ($1, $2, $3::text::uuid, $4, $5, $6, $7::text[]::cidr[], $8, $9, $10) RETURNING id::text`,
			r.ID, r.Name, client, r.User, keyTexts(r.Scopes), r.Policy, keyPrefixes(r.AllowFrom), keyMoment(r.Expires), r.Active, time.Unix(r.Created, 0)).Scan(&key)
		if err != nil {
			return err
		}
		return keepVersions(ctx, tx, key, r.Versions)
	})
	if err != nil {
		return apiKeyFailed(what, err)
	}
	return nil
}

// keepVersions makes versions those of the key; others stay on record and are dead.
func keepVersions(ctx context.Context, tx pgx.Tx, key string, versions []apikey.Version) error {
	numbers := make([]int, len(versions))
	hashes := make([][]byte, len(versions))
	created := make([]time.Time, len(versions))
	untils := make([]*time.Time, len(versions))
	for i, v := range versions {
		numbers[i], hashes[i], created[i], untils[i] = v.Number, v.Hash[:], time.Unix(v.Created, 0), keyMoment(v.Until)
	}
	_, err := tx.Exec(ctx, `
INSERT INTO api_key_versions (key, number, hash, created_at, until)
SELECT $1::text::uuid, * FROM unnest($2::int[], $3::bytea[], $4::timestamptz[], $5::timestamptz[])
ON CONFLICT (key, number) DO UPDATE SET until = excluded.until`, key, numbers, hashes, created, untils)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
UPDATE api_key_versions SET until = now()
WHERE key = $1::text::uuid AND number <> ALL ($2::int[]) AND (until IS NULL OR until > now())`, key, numbers)
	return err
}

// Update replaces the key if what is stored has the revision before r's.
func (a *APIKeys) Update(ctx context.Context, r apikey.Record) error {
	if err := r.Check(); err != nil {
		return err
	}
	err := pgx.BeginFunc(ctx, a.db.pool, func(tx pgx.Tx) error {
		var key string
		err := tx.QueryRow(ctx, `
UPDATE api_keys SET name = $2, scopes = $3, policy = $4, allow_from = $5::text[]::cidr[], expires_at = $6, is_active = $7, revision = $8
WHERE key_id = $1 AND revision = $8::bigint - 1 RETURNING id::text`,
			r.ID, r.Name, keyTexts(r.Scopes), r.Policy, keyPrefixes(r.AllowFrom), keyMoment(r.Expires), r.Active, r.Revision).Scan(&key)
		if errors.Is(err, pgx.ErrNoRows) {
			return notUpdated(ctx, tx, r.ID)
		}
		if err != nil {
			return err
		}
		return keepVersions(ctx, tx, key, r.Versions)
	})
	if err != nil {
		return apiKeyFailed("updating key "+r.ID, err)
	}
	return nil
}

// notUpdated says why no row was the one to update.
func notUpdated(ctx context.Context, tx pgx.Tx, id string) error {
	var there bool
	if err := tx.QueryRow(ctx, "SELECT exists (SELECT FROM api_keys WHERE key_id = $1)", id).Scan(&there); err != nil {
		return err
	}
	if there {
		return apikey.ErrConflict
	}
	return apikey.ErrUnknown
}

// Watch calls changed for each change of a key, and with "" after each connection,
// until ctx is done.
func (a *APIKeys) Watch(ctx context.Context, changed func(id string, revision int64)) {
	a.db.Listen(ctx, apiKeysChannel, func(payload string) {
		id, text, _ := strings.Cut(payload, " ")
		revision, err := strconv.ParseInt(text, 10, 64)
		if id != "" && (err != nil || apikey.CheckID(id) != nil) {
			id = "" // not from our triggers: whatever it means, look at everything
		}
		changed(id, revision)
	})
}

// AddUsage adds rows to what is known of keys that are there. Rows come in the order
// of the keys in every instance: two that add to the same ones wait, and never for
// each other.
func (a *APIKeys) AddUsage(ctx context.Context, batch string, rows []apikey.UsageRow) error {
	if len(rows) == 0 {
		return nil
	}
	n := len(rows)
	keys, routes, versions := make([]string, n), make([]string, n), make([]int, n)
	hours, used := make([]time.Time, n), make([]time.Time, n)
	requests, failed, limited, in, out := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, r := range rows {
		keys[i], routes[i], versions[i] = r.Key, r.Route, r.Version
		hours[i], used[i] = time.Unix(r.Hour, 0), time.Unix(r.LastUsed, 0)
		requests[i], failed[i], limited[i], in[i], out[i] = r.Requests, r.Errors, r.Limited, r.In, r.Out
	}
	_, err := a.db.pool.Exec(ctx, `
WITH forgotten AS (
    DELETE FROM api_key_usage_batches WHERE id IN (
        SELECT id FROM api_key_usage_batches WHERE added_at < now() - interval '1 day' ORDER BY added_at LIMIT 100 FOR UPDATE SKIP LOCKED)
), fresh AS (
    INSERT INTO api_key_usage_batches (id) VALUES ($11::text::uuid) ON CONFLICT DO NOTHING RETURNING id
), counted AS (
    SELECT k.id AS key, r.* FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::int[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::timestamptz[])
        AS r (key_id, hour, route, version, requests, errors, limited, bytes_in, bytes_out, last_used)
    JOIN api_keys k ON k.key_id = r.key_id
    WHERE EXISTS (SELECT FROM fresh)
), dated AS (
    INSERT INTO api_key_last_used AS l (key, last_used)
    SELECT key, max(last_used) FROM counted GROUP BY key ORDER BY key
    ON CONFLICT (key) DO UPDATE SET last_used = greatest(l.last_used, excluded.last_used)
)
INSERT INTO api_key_usage AS u (key, hour, route, version, requests, errors, limited, bytes_in, bytes_out, last_used)
SELECT key, hour, route, version, requests, errors, limited, bytes_in, bytes_out, last_used FROM counted ORDER BY key, hour, route, version
ON CONFLICT (key, hour, route, version) DO UPDATE SET
    requests = u.requests + excluded.requests, errors = u.errors + excluded.errors, limited = u.limited + excluded.limited,
    bytes_in = u.bytes_in + excluded.bytes_in, bytes_out = u.bytes_out + excluded.bytes_out,
    last_used = greatest(u.last_used, excluded.last_used)`,
		keys, hours, routes, versions, requests, failed, limited, in, out, used, batch)
	if err != nil {
		return apiKeyFailed("storing usage", err)
	}
	return nil
}

// Usage returns the rows of a key with from <= Hour < to.
func (a *APIKeys) Usage(ctx context.Context, id string, from, to time.Time) ([]apikey.UsageRow, error) {
	what := fmt.Sprintf("reading the usage of key %.64q", id)
	if apikey.CheckID(id) != nil {
		return nil, fmt.Errorf("%s: %w", what, apikey.ErrUnknown)
	}
	rows, err := a.db.pool.Query(ctx, `
SELECT hour, route, version, requests, errors, limited, bytes_in, bytes_out, last_used FROM api_key_usage
WHERE key = (SELECT id FROM api_keys WHERE key_id = $1) AND hour >= $2 AND hour < $3
ORDER BY hour, route, version`, id, from, to)
	if err != nil {
		return nil, apiKeyFailed(what, err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (apikey.UsageRow, error) {
		r := apikey.UsageRow{Key: id}
		var hour, used time.Time
		err := row.Scan(&hour, &r.Route, &r.Version, &r.Requests, &r.Errors, &r.Limited, &r.In, &r.Out, &used)
		r.Hour, r.LastUsed = hour.Unix(), used.Unix()
		return r, err
	})
	if err != nil {
		return nil, apiKeyFailed(what, err)
	}
	return all, nil
}

// ForgetUsage deletes old rows. Rows that another instance is deleting are its own.
func (a *APIKeys) ForgetUsage(ctx context.Context, before time.Time, most int) (deleted int, err error) {
	done, err := a.db.pool.Exec(ctx, `
DELETE FROM api_key_usage WHERE (key, hour, route, version) IN (
    SELECT key, hour, route, version FROM api_key_usage WHERE hour < $1 ORDER BY hour LIMIT $2 FOR UPDATE SKIP LOCKED)`, before, most)
	if err != nil {
		return 0, apiKeyFailed("forgetting usage", err)
	}
	return int(done.RowsAffected()), nil
}
