package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/setting"
)

// The states of PostgreSQL that mean something to Users (appendix A of its manual).
const (
	uniqueViolation     = "23505"
	foreignKeyViolation = "23503"
)

// usersWithin is how long a login waits for PostgreSQL, connecting included.
const usersWithin = 5 * time.Second

// Users keeps users in PostgreSQL. It may be used concurrently. Whatever is decided
// by a row's state is one statement with that state as its condition, so that of any
// number of gateways who ask at once one is right.
type Users struct{ db *DB }

var _ account.Store = (*Users)(nil)

// NewUsers returns the users of a database.
func NewUsers(db *DB) *Users { return &Users{db} }

// errUsedUp stays within this file.
var errUsedUp = errors.New("used up")

// selectUser are the columns that scanRecord reads.
const selectUser = `SELECT u.id, u.email, u.password_hash, u.scopes, u.is_active, u.created_at,
	coalesce(f.confirmed, false), f.sealed, coalesce(f.last_step, 0)
	FROM users u LEFT JOIN user_factors f ON f.user_id = u.id `

func scanRecord(row pgx.Row) (account.Record, error) {
	var r account.Record
	var hash string
	var scopes []string
	err := row.Scan(&r.ID, &r.Email, &hash, &scopes, &r.Active, &r.Created, &r.MFA, &r.Factor.Sealed, &r.Factor.Step)
	if err != nil {
		return account.Record{}, err
	}
	r.Hash = setting.NewSecret(hash)
	if r.Scopes, err = principal.NewScopes(scopes); err != nil {
		return account.Record{}, fmt.Errorf("scopes of user %s: %w", r.ID, err)
	}
	return r, nil
}

// unavailable says what PostgreSQL failed to do. The error of the library stays for
// the log: it names no arguments, but by its details a row's values, which are left out.
func unavailable(what string, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return fmt.Errorf("%s: %w: PostgreSQL says %s (%s)", what, account.ErrUnavailable, pg.Message, pg.Code)
	}
	return fmt.Errorf("%s: %w: %w", what, account.ErrUnavailable, err)
}

// ByEmail is account.Users'.
func (u *Users) ByEmail(ctx context.Context, email string) (account.Record, error) {
	return u.one(ctx, selectUser+`WHERE u.email = $1`, email)
}

// ByID is account.Users'.
func (u *Users) ByID(ctx context.Context, id string) (account.Record, error) {
	return u.one(ctx, selectUser+`WHERE u.id = $1`, id)
}

func (u *Users) one(ctx context.Context, query, argument string) (account.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, usersWithin)
	defer cancel()
	r, err := scanRecord(u.db.pool.QueryRow(ctx, query, argument))
	if errors.Is(err, pgx.ErrNoRows) {
		return account.Record{}, account.ErrNoUser
	}
	if err != nil {
		return account.Record{}, unavailable("reading a user", err)
	}
	return r, nil
}

// Insert is account.Users'.
func (u *Users) Insert(ctx context.Context, r account.Record) error {
	ctx, cancel := context.WithTimeout(ctx, usersWithin)
	defer cancel()
	scopes := r.Scopes.List()
	if scopes == nil {
		scopes = []string{}
	}
	_, err := u.db.pool.Exec(ctx, `INSERT INTO users (id, email, password_hash, scopes, is_active, created_at)
		VALUES ($1, $2, $3, $4, $5, $6)`, r.ID, r.Email, r.Hash.Reveal(), scopes, r.Active, r.Created)
	if violates(err, uniqueViolation) {
		return account.ErrExists
	}
	if err != nil {
		return unavailable("inserting a user", err)
	}
	return nil
}

func violates(err error, state string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == state
}

// List is account.Users'.
func (u *Users) List(ctx context.Context, after string, limit int) ([]account.User, error) {
	ctx, cancel := context.WithTimeout(ctx, usersWithin)
	defer cancel()
	rows, err := u.db.pool.Query(ctx, selectUser+`WHERE u.id > $1 ORDER BY u.id LIMIT $2`, after, limit)
	if err != nil {
		return nil, unavailable("listing users", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (account.User, error) {
		r, err := scanRecord(row)
		return r.User, err
	})
	if err != nil {
		return nil, unavailable("listing users", err)
	}
	return list, nil
}

// SetPassword is account.Changes'.
func (u *Users) SetPassword(ctx context.Context, id string, was, now setting.Secret) error {
	return u.change(ctx, id, conditional{`UPDATE users SET password_hash = $3, updated_at = now()
		WHERE id = $1 AND password_hash = $2`, account.ErrChanged}, was.Reveal(), now.Reveal())
}

// SetActive is account.Changes'.
func (u *Users) SetActive(ctx context.Context, id string, active bool) error {
	return u.change(ctx, id, conditional{`UPDATE users SET is_active = $2, updated_at = now() WHERE id = $1`, account.ErrNoUser}, active)
}

// conditional is a statement that changes one row of a user, whose id is $1, in a
// certain state; otherwise is what it means if there is a user, and no such row.
type conditional struct {
	statement string
	otherwise error
}

// change runs a statement. If it changes nothing the error is ErrNoUser or otherwise.
func (u *Users) change(ctx context.Context, id string, c conditional, arguments ...any) error {
	ctx, cancel := context.WithTimeout(ctx, usersWithin)
	defer cancel()
	done, err := u.db.pool.Exec(ctx, c.statement, append([]any{id}, arguments...)...)
	switch {
	case violates(err, foreignKeyViolation):
		return account.ErrNoUser
	case err != nil:
		return unavailable("changing a user", err)
	case done.RowsAffected() == 0:
		if _, err := u.ByID(ctx, id); err != nil {
			return err
		}
		return c.otherwise
	}
	return nil
}

// Enrol is account.Factors'.
func (u *Users) Enrol(ctx context.Context, id string, sealed []byte) error {
	return u.change(ctx, id, conditional{`INSERT INTO user_factors (user_id, sealed) VALUES ($1, $2)
		ON CONFLICT (user_id) DO UPDATE SET sealed = excluded.sealed, created_at = now() WHERE NOT user_factors.confirmed`, account.ErrEnrolled}, sealed)
}

// Confirm is account.Factors'.
func (u *Users) Confirm(ctx context.Context, id string, c account.Confirmation) error {
	recovery := c.Recovery
	if recovery == nil {
		recovery = [][]byte{}
	}
	return u.change(ctx, id, conditional{`WITH put AS (
			UPDATE user_factors SET confirmed = true, last_step = $3
			WHERE user_id = $1 AND sealed = $2 AND NOT confirmed RETURNING user_id
		), codes AS (
			INSERT INTO user_recovery_codes (user_id, hash) SELECT put.user_id, code FROM put, unnest($4::bytea[]) AS code
		) SELECT user_id FROM put`, account.ErrNotEnrolled}, c.Sealed, c.Step, recovery)
}

// Spend is account.Factors'.
func (u *Users) Spend(ctx context.Context, id string, c account.Code) (fresh bool, err error) {
	if c.Recovery == nil {
		err = u.change(ctx, id, conditional{`UPDATE user_factors SET last_step = $2
			WHERE user_id = $1 AND confirmed AND last_step < $2`, errUsedUp}, c.Step)
	} else {
		err = u.change(ctx, id, conditional{`DELETE FROM user_recovery_codes c USING user_factors f
			WHERE c.user_id = $1 AND c.hash = $2 AND f.user_id = c.user_id AND f.confirmed`, errUsedUp}, c.Recovery)
	}
	if errors.Is(err, errUsedUp) {
		return false, nil
	}
	return err == nil, err
}

// Remove is account.Factors'.
func (u *Users) Remove(ctx context.Context, id string) error {
	err := u.change(ctx, id, conditional{`DELETE FROM user_factors WHERE user_id = $1`, errUsedUp})
	if errors.Is(err, errUsedUp) { // there was none
		return nil
	}
	return err
}
