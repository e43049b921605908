package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/suuupra/gateway/core/token"
)

// SigningKeysChannel is told of every change of the signing keys, with no payload.
const SigningKeysChannel = "gateway_signing_keys"

// signingKeysLock is held by whoever changes signing keys: "signkeys" as a number.
const signingKeysLock int64 = 0x7369676e6b657973

// SigningKeys keeps the signing keys of all gateways that share the database.
type SigningKeys struct{ db *DB }

var _ token.KeyStore = (*SigningKeys)(nil)

// NewSigningKeys returns the store of signing keys in db.
func NewSigningKeys(db *DB) *SigningKeys { return &SigningKeys{db} }

// Load returns all keys.
func (s *SigningKeys) Load(ctx context.Context) ([]token.StoredKey, error) {
	keys, err := loadSigningKeys(ctx, s.db.pool)
	return keys, signingKeysError("reading", err)
}

// signingKeysQuerier is what a pool and a transaction have in common.
type signingKeysQuerier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func loadSigningKeys(ctx context.Context, q signingKeysQuerier) ([]token.StoredKey, error) {
	rows, err := q.Query(ctx, `SELECT kid, purpose, sealed, created_at, signs_at, life_seconds FROM signing_keys`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (k token.StoredKey, err error) {
		var life int64
		err = row.Scan(&k.ID, &k.Purpose, &k.Sealed, &k.Created, &k.Signs, &life)
		k.Created, k.Signs, k.Life = k.Created.UTC(), k.Signs.UTC(), time.Duration(life)*time.Second
		return k, err
	})
}

// Update replaces the keys by what change makes of them, in one transaction and
// under an advisory lock, and tells SigningKeysChannel. A gateway that dies in
// between leaves nothing behind; one that is cut off holds the lock for half a
// minute at most.
func (s *SigningKeys) Update(ctx context.Context, change func([]token.StoredKey) ([]token.StoredKey, error)) error {
	var refusal error
	err := pgx.BeginFunc(ctx, s.db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = '30s'`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, signingKeysLock); err != nil {
			return err
		}
		before, err := loadSigningKeys(ctx, tx)
		if err != nil {
			return err
		}
		after, err := change(before)
		if err != nil {
			refusal = err
			return err
		}
		return replaceSigningKeys(ctx, tx, after)
	})
	if refusal != nil {
		return refusal
	}
	return signingKeysError("changing", err)
}

// replaceSigningKeys makes the table hold keys and no others. There are few.
func replaceSigningKeys(ctx context.Context, tx pgx.Tx, keys []token.StoredKey) error {
	ids := make([]string, 0, len(keys))
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	batch := new(pgx.Batch)
	batch.Queue(`DELETE FROM signing_keys WHERE kid <> ALL($1)`, ids)
	for _, k := range keys {
		batch.Queue(`INSERT INTO signing_keys (kid, purpose, sealed, created_at, signs_at, life_seconds) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (kid) DO UPDATE SET purpose = excluded.purpose, sealed = excluded.sealed, created_at = excluded.created_at,
				signs_at = excluded.signs_at, life_seconds = excluded.life_seconds`,
			k.ID, string(k.Purpose), k.Sealed, k.Created, k.Signs, int64(k.Life/time.Second))
	}
	batch.Queue(`SELECT pg_notify($1, '')`, SigningKeysChannel)
	return tx.SendBatch(ctx, batch).Close()
}

// signingKeysError says what was attempted, and whether trying again may help: it
// does not where the server answered that something is wrong with us.
func signingKeysError(doing string, err error) error {
	if err == nil {
		return nil
	}
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return fmt.Errorf("%s the signing keys: %w: %w", doing, token.ErrUnavailable, err)
	}
	switch class := answer.Code[:min(2, len(answer.Code))]; class {
	case "08", "25", "40", "53", "57": // connection, transaction, conflict, resources, shutdown
		return fmt.Errorf("%s the signing keys: %w: %w", doing, token.ErrUnavailable, err)
	case "42": // most likely: no such table
		return fmt.Errorf("%s the signing keys (was `gateway migrate up` run?): %w", doing, err)
	default:
		return fmt.Errorf("%s the signing keys: %w", doing, err)
	}
}
