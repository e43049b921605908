package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/token"
)

// fileUsers are the users that the configuration declares.
func fileUsers(declared []*config.User) (*account.Fixed, error) {
	var list []account.Listed
	for _, u := range declared {
		if !u.Active {
			continue
		}
		scopes, err := principal.NewScopes(u.Scopes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.At, err)
		}
		list = append(list, account.Listed{Email: u.Email, Hash: u.PasswordHash, Scopes: scopes, TOTP: u.TOTP})
	}
	users, err := account.NewFixed(list)
	if err != nil {
		return nil, fmt.Errorf("identity.users: %w", err)
	}
	return users, nil
}

// fileKeys are the API keys and clients that the configuration declares.
func fileKeys(i *config.Identity) (records []apikey.Record, clients []apikey.Client, err error) {
	for _, c := range i.Clients {
		clients = append(clients, apikey.Client{ID: c.ID, Name: cmp.Or(c.Name, c.ID), SecretHash: c.SecretHash.Reveal(), Scopes: c.Scopes, Policy: c.Policy, Active: c.Active})
	}
	for _, k := range i.APIKeys {
		hash, err := apikey.ParseHash(k.Hash.Reveal())
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", k.At, err)
		}
		records = append(records, apikey.Record{
			ID: k.ID, Name: k.Name, Client: k.Client, User: k.User, Scopes: k.Scopes, Policy: k.Policy,
			AllowFrom: setting.Prefixes(k.AllowFrom), Expires: k.ExpiresAt, Active: k.Active,
			Versions: []apikey.Version{{Number: 1, Hash: hash}},
		})
	}
	return records, clients, nil
}

// declared are the users, clients and API keys of the configuration, where PostgreSQL
// does not keep them. The zero value is none.
type declared struct {
	users *account.Fixed
	keys  *apikey.Memory
}

// newDeclared are those of i.
func newDeclared(i *config.Identity) (d declared, err error) {
	if d.users, err = fileUsers(i.Users); err != nil {
		return declared{}, err
	}
	records, clients, err := fileKeys(i)
	if err != nil {
		return declared{}, err
	}
	if d.keys, err = apikey.NewMemory(records, clients); err != nil {
		return declared{}, fmt.Errorf("identity.api_keys: %w", err)
	}
	return d, nil
}

// endWithin bounds how long a reload waits for the revocations that it makes.
const endWithin = 5 * time.Second

// prepare returns what puts the users, clients and API keys that next declares in force,
// or says why they can't be. Nothing is changed before commit is called, and then nothing
// fails. Users who are gone, or who must prove anew who they are, lose their sessions.
func (i *identity) prepare(cfg *config.Config) (commit func(), err error) {
	next := cfg.Identity
	if i.declared.users == nil || next == nil || cfg.Stores != nil && cfg.Stores.Postgres != nil {
		return func() {}, nil // they stand in PostgreSQL, or will after the next start
	}
	d, err := newDeclared(next)
	if err != nil {
		return nil, err
	}
	records, clients, err := fileKeys(next)
	if err != nil {
		return nil, err
	}
	return func() {
		if err := i.declared.keys.Configure(records, clients); err != nil {
			panic("BUG: keys that were checked are refused: " + err.Error())
		}
		i.endSessions(i.declared.users.Replace(d.users))
	}, nil
}

// endSessions ends all that users hold.
func (i *identity) endSessions(users []string) {
	ctx, cancel := context.WithTimeout(context.Background(), endWithin)
	defer cancel()
	for _, id := range users {
		if err := i.sessions.EndAll(ctx, id); err != nil {
			i.log.Error().Err(err).Str("user", id).Msg("a user whom a reload has removed or changed is refused here; it is not certain that a restart, or another instance, knows of it")
			continue
		}
		i.log.Info().Str("user", id).Msg("a reload has removed or changed this user, whose sessions end")
	}
}

// foreignIssuers are the issuers that the configuration declares.
func foreignIssuers(declared []*config.Issuer) ([]token.Foreign, error) {
	var out []token.Foreign
	for _, f := range declared {
		grants, err := principal.NewScopes(f.Grants)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.At, err)
		}
		out = append(out, token.Foreign{
			Name: f.Name, Issuer: f.Issuer, KeySetURL: f.JWKSURL, Audiences: f.Audiences, Algorithms: f.Algorithms, Types: f.Types,
			Claims:     token.ClaimNames{User: f.Claims.User, Client: f.Claims.Client, Scopes: f.Claims.Scopes},
			UserPrefix: f.UserPrefix, Grants: grants, Private: f.Private,
		})
	}
	return out, nil
}

// attempts is r as package account counts.
func attempts(r setting.Rate) account.Rate {
	return account.Rate{Attempts: int(r.Count), Window: time.Duration(r.Per)}
}
