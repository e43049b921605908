package main

import (
	"cmp"
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
func fileKeys(i *config.Identity) (*apikey.Memory, error) {
	var clients []apikey.Client
	for _, c := range i.Clients {
		clients = append(clients, apikey.Client{ID: c.ID, Name: cmp.Or(c.Name, c.ID), SecretHash: c.SecretHash.Reveal(), Scopes: c.Scopes, Policy: c.Policy, Active: c.Active})
	}
	var records []apikey.Record
	for _, k := range i.APIKeys {
		hash, err := apikey.ParseHash(k.Hash.Reveal())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.At, err)
		}
		records = append(records, apikey.Record{
			ID: k.ID, Name: k.Name, Client: k.Client, User: k.User, Scopes: k.Scopes, Policy: k.Policy,
			AllowFrom: setting.Prefixes(k.AllowFrom), Expires: k.ExpiresAt, Active: k.Active,
			Versions: []apikey.Version{{Number: 1, Hash: hash}},
		})
	}
	memory, err := apikey.NewMemory(records, clients)
	if err != nil {
		return nil, fmt.Errorf("identity.api_keys: %w", err)
	}
	return memory, nil
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
