package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/session"
)

// sessionsWithin is how long a login or a refresh waits for PostgreSQL, connecting included.
const sessionsWithin = 5 * time.Second

// Sessions keeps sessions in PostgreSQL. It may be used concurrently. Whatever is decided
// by a row's state is one statement with that state as its condition, so that of any
// number of gateways who ask at once one is right.
type Sessions struct{ db *DB }

var _ session.Store = (*Sessions)(nil)

// NewSessions returns the sessions of a database.
func NewSessions(db *DB) *Sessions { return &Sessions{db} }

// sessionColumns are what scanSession reads.
const sessionColumns = `id, user_id, client_id, scopes, fingerprint, thumbprint, agent, address, created_at, used_at, ends_at, last_expiry`

// scanSession reads a session and, behind it, more columns.
func scanSession(row pgx.Row, s *session.Session, more ...any) error {
	var scopes []string
	err := row.Scan(append([]any{&s.ID, &s.User, &s.Client, &scopes, &s.Fingerprint, &s.Thumbprint, &s.Agent, &s.Address,
		&s.Created, &s.Used, &s.Ends, &s.LastExpiry}, more...)...)
	if err != nil {
		return err
	}
	if s.Scopes, err = principal.NewScopes(scopes); err != nil {
		return fmt.Errorf("scopes of session %s: %w", s.ID, err)
	}
	return nil
}

// sessionsOf reads all sessions of a query.
func sessionsOf(rows pgx.Rows, err error) ([]session.Session, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s session.Session, err error) {
		return s, scanSession(row, &s)
	})
}

// sessionsAway says what PostgreSQL failed to do, without the values of its rows.
func sessionsAway(what string, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return fmt.Errorf("%s: %w: PostgreSQL says %s (%s)", what, session.ErrUnavailable, pg.Message, pg.Code)
	}
	return fmt.Errorf("%s: %w: %w", what, session.ErrUnavailable, err)
}

// Begin is session.Families'. Logins of one user stand in line, so that the cap holds
// however many there are at once; an advisory lock needs no row of the user.
func (s *Sessions) Begin(ctx context.Context, r session.Record, most int) (ended []session.Session, err error) {
	ctx, cancel := context.WithTimeout(ctx, sessionsWithin)
	defer cancel()
	err = pgx.BeginFunc(ctx, s.db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('session:' || $1, 0))`, r.User); err != nil {
			return err
		}
		if err := insertSession(ctx, tx, r); err != nil {
			return err
		}
		ended, err = sessionsOf(tx.Query(ctx, `UPDATE sessions SET ended_at = $2, parent_id = '', access_id = '', rotated_at = NULL, grace_closed = false, sealed = NULL
			WHERE id IN (SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND ends_at > $2
				ORDER BY created_at DESC, id DESC OFFSET $3) AND ended_at IS NULL RETURNING `+sessionColumns, r.User, r.Created, most))
		return err
	})
	if err != nil {
		return nil, sessionsAway("beginning a session", err)
	}
	return ended, nil
}

func insertSession(ctx context.Context, tx pgx.Tx, r session.Record) error {
	scopes := r.Scopes.List()
	if scopes == nil {
		scopes = []string{}
	}
	_, err := tx.Exec(ctx, `INSERT INTO sessions (`+sessionColumns+`, current_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		r.ID, r.User, r.Client, scopes, r.Fingerprint, r.Thumbprint, r.Agent, r.Address, r.Created, r.Used, r.Ends, r.LastExpiry, r.Current)
	return err
}

// Load is session.Families'.
func (s *Sessions) Load(ctx context.Context, id string) (session.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionsWithin)
	defer cancel()
	var r session.Record
	var ended, rotated *time.Time
	row := s.db.pool.QueryRow(ctx, `SELECT `+sessionColumns+`, current_id, ended_at, parent_id, rotated_at, access_id, grace_closed, sealed
		FROM sessions WHERE id = $1`, id)
	err := scanSession(row, &r.Session, &r.Current, &ended, &r.Grace.Parent, &rotated, &r.Grace.Access, &r.Grace.Closed, &r.Grace.Sealed)
	if errors.Is(err, pgx.ErrNoRows) {
		return session.Record{}, session.ErrUnknown
	}
	if err != nil {
		return session.Record{}, sessionsAway("reading a session", err)
	}
	if ended != nil {
		r.Ended = *ended
	}
	if rotated != nil {
		r.Grace.Since = *rotated
	}
	return r, nil
}

// Rotate is session.Families'.
func (s *Sessions) Rotate(ctx context.Context, r session.Rotation) (bool, error) {
	done, err := s.change(ctx, "rotating a refresh token", `UPDATE sessions SET current_id = $3, parent_id = $2, rotated_at = $4, used_at = $4,
		access_id = $5, grace_closed = false, sealed = $6, last_expiry = greatest(last_expiry, $7)
		WHERE id = $1 AND current_id = $2 AND ended_at IS NULL AND ends_at > $4`,
		r.Session, r.From, r.To, r.At, r.Access, r.Sealed, r.LastExpiry)
	return done == 1, err
}

// change runs one statement and says how many rows it changed.
func (s *Sessions) change(ctx context.Context, what, statement string, arguments ...any) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionsWithin)
	defer cancel()
	done, err := s.db.pool.Exec(ctx, statement, arguments...)
	if err != nil {
		return 0, sessionsAway(what, err)
	}
	return done.RowsAffected(), nil
}

// Seen is session.Families'. What opened no grace, as the token of a login does not,
// changes no row.
func (s *Sessions) Seen(ctx context.Context, sightings []session.Sighting) error {
	ids, access := make([]string, len(sightings)), make([]string, len(sightings))
	for i := range sightings {
		ids[i], access[i] = sightings[i].Session, sightings[i].Access
	}
	_, err := s.change(ctx, "closing graces", `UPDATE sessions s SET grace_closed = true, sealed = NULL
		FROM unnest($1::text[], $2::text[]) AS seen (id, access)
		WHERE s.id = seen.id AND s.access_id = seen.access AND NOT s.grace_closed`, ids, access)
	return err
}

// List is session.Ledger's.
func (s *Sessions) List(ctx context.Context, user string, at time.Time) ([]session.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionsWithin)
	defer cancel()
	list, err := sessionsOf(s.db.pool.Query(ctx, `SELECT `+sessionColumns+` FROM sessions
		WHERE user_id = $1 AND ended_at IS NULL AND ends_at > $2 ORDER BY created_at, id`, user, at))
	if err != nil {
		return nil, sessionsAway("listing sessions", err)
	}
	return list, nil
}

// End is session.Ledger's.
func (s *Sessions) End(ctx context.Context, which session.Selection, at time.Time) ([]session.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionsWithin)
	defer cancel()
	ended, err := sessionsOf(s.db.pool.Query(ctx, `UPDATE sessions SET ended_at = $4, parent_id = '', access_id = '', rotated_at = NULL, grace_closed = false, sealed = NULL
		WHERE user_id = $1 AND ended_at IS NULL AND ends_at > $4 AND ($2 = '' OR id = $2) AND id <> $3
		RETURNING `+sessionColumns, which.User, which.ID, which.Except, at))
	if err != nil {
		return nil, sessionsAway("ending sessions", err)
	}
	return ended, nil
}

// Forget is session.Ledger's. All instances do it; each statement finds its rows by an index.
func (s *Sessions) Forget(ctx context.Context, at, graces time.Time) error {
	if _, err := s.change(ctx, "forgetting sessions", `DELETE FROM sessions WHERE last_expiry < $1`, at); err != nil {
		return err
	}
	_, err := s.change(ctx, "forgetting pairs", `UPDATE sessions SET sealed = NULL WHERE sealed IS NOT NULL AND rotated_at < $1`, graces)
	return err
}
