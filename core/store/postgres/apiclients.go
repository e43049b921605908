package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/suuupra/gateway/core/apikey"
)

// CreateClient keeps a new client. A policy of the table is linked to it as well as
// named.
func (a *APIKeys) CreateClient(ctx context.Context, c apikey.Client) error {
	if err := c.Check(); err != nil {
		return err
	}
	what := fmt.Sprintf("creating client %.64q", c.ID)
	if !isClientID(c.ID) {
		return fmt.Errorf("%s: %w: the id of a client is a UUID here", what, apikey.ErrInvalid)
	}
	_, err := a.db.pool.Exec(ctx, `
INSERT INTO api_clients (id, client_name, client_secret_hash, scopes, policy, redirect_uris, is_active, created_at, updated_at, rate_limit_policy_id)
VALUES ($1::text::uuid, $2, $3, $4, $5, $6, $7, $8, $9, (SELECT id FROM rate_limit_policies WHERE policy_name = $5))`,
		c.ID, c.Name, c.SecretHash, keyTexts(c.Scopes), c.Policy, keyTexts(c.RedirectURIs), c.Active, time.Unix(c.Created, 0), time.Unix(c.Updated, 0))
	if err != nil {
		return apiKeyFailed(what, err)
	}
	return nil
}

// ListClients returns all clients, by name and id.
func (a *APIKeys) ListClients(ctx context.Context) ([]apikey.Client, error) {
	rows, err := a.db.pool.Query(ctx, `
SELECT c.id::text, c.client_name, coalesce(c.client_secret_hash, ''), coalesce(c.scopes, '{}'), coalesce(nullif(c.policy, ''), p.policy_name, ''),
       c.redirect_uris, c.is_active, c.created_at, c.updated_at
FROM api_clients c LEFT JOIN rate_limit_policies p ON p.id = c.rate_limit_policy_id
ORDER BY c.client_name COLLATE "C", c.id`)
	if err != nil {
		return nil, apiKeyFailed("listing the clients", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (apikey.Client, error) {
		var c apikey.Client
		var created, updated time.Time
		err := row.Scan(&c.ID, &c.Name, &c.SecretHash, &c.Scopes, &c.Policy, &c.RedirectURIs, &c.Active, &created, &updated)
		c.Created, c.Updated = created.Unix(), updated.Unix()
		return c, err
	})
	if err != nil {
		return nil, apiKeyFailed("listing the clients", err)
	}
	return all, nil
}

// SwitchClient makes a client active or not; a trigger tells of its keys.
func (a *APIKeys) SwitchClient(ctx context.Context, id string, active bool) error {
	what := fmt.Sprintf("switching client %.64q", id)
	if !isClientID(id) {
		return fmt.Errorf("%s: %w", what, apikey.ErrNoClient)
	}
	done, err := a.db.pool.Exec(ctx, `UPDATE api_clients SET is_active = $2, updated_at = now() WHERE id = $1::text::uuid AND is_active IS DISTINCT FROM $2`, id, active)
	if err != nil {
		return apiKeyFailed(what, err)
	}
	if done.RowsAffected() > 0 {
		return nil
	}
	var there bool
	if err := a.db.pool.QueryRow(ctx, "SELECT exists (SELECT FROM api_clients WHERE id = $1::text::uuid)", id).Scan(&there); err != nil {
		return apiKeyFailed(what, err)
	}
	if !there {
		return fmt.Errorf("%s: %w", what, apikey.ErrNoClient)
	}
	return nil
}
