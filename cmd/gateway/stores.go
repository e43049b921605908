package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/certificate"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/upstream"
)

// stores are the clients of the servers that the configuration names. What it names
// not is nil.
type stores struct {
	db *postgres.DB
	// hot is for what requests wait for, cold for what they don't: logins and resyncs
	// must not stand before them in one queue.
	hot, cold *redis.Client
}

// openStores makes the clients. The servers need not be there.
func openStores(cfg *config.Config, log zerolog.Logger) (*stores, error) {
	s := new(stores)
	if cfg.Stores == nil {
		return s, nil
	}
	if p := cfg.Stores.Postgres; p != nil {
		db, err := postgres.Open(context.Background(), postgres.Options{URL: strings.TrimSpace(p.URL.Reveal()), Log: log})
		if err != nil {
			return nil, err
		}
		s.db = db
	}
	if r := cfg.Stores.Redis; r != nil {
		var err error
		if s.hot, err = openRedis(r, "requests", log); err == nil {
			s.cold, err = openRedis(r, "logins", log)
		}
		if err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// breakers is where instances tell each other of services that fail; nil: each is on its own.
func (s *stores) breakers() upstream.BreakerStore {
	if s.cold == nil {
		return nil
	}
	return redis.NewBreakers(s.cold)
}

func openRedis(r *config.RedisStore, purpose string, log zerolog.Logger) (*redis.Client, error) {
	secure, err := clientTLS(r.TLS)
	if err != nil {
		return nil, fmt.Errorf("stores.redis.tls: %w", err)
	}
	return redis.Open(context.Background(), redis.Options{
		Addresses: r.Addresses, Mode: redis.Mode(r.Mode), Master: r.Master, Prefix: r.Prefix,
		Username: r.Username, Password: r.Password.Reveal(), TLS: secure, Purpose: purpose, Log: log,
	})
}

// clientTLS is t as crypto/tls has it; nil for none.
func clientTLS(t *config.ServiceTLS) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	c := &tls.Config{MinVersion: t.Version(), ServerName: t.ServerName}
	if !t.CA.IsZero() {
		trusted, err := certificate.ReadTrusted(t.CA.Text())
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		c.RootCAs = trusted.Pool
	}
	if !t.Certificate.IsZero() {
		pair, err := certificate.Parse(t.Certificate.Text(), t.Key.Reveal())
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair.TLS}
	}
	return c, nil
}

// healthy says whether each server answers; one that is not named is well.
func (s *stores) healthy(ctx context.Context) (redisWell, databaseWell bool) {
	return s.hot == nil || s.hot.Healthy() && s.cold.Healthy(), s.db == nil || s.db.Healthy(ctx)
}

// recorder is who writes down the health of endpoints; nil without PostgreSQL.
func (s *stores) recorder() upstream.Recorder {
	if s.db == nil {
		return nil
	}
	return postgres.NewHealth(s.db)
}

func (s *stores) close() {
	for _, c := range []*redis.Client{s.hot, s.cold} {
		if c != nil {
			c.Close()
		}
	}
	if s.db != nil {
		s.db.Close()
	}
}

// errNoDirectory says that keys can't be kept.
var errNoDirectory = errors.New("the keys that sign tokens are kept in `directory`, which must be a folder that the gateway can write to; or name stores.postgres")

// whereKept says which store holds what (SPEC S6).
func (i *identity) whereKept() string {
	const nothing = "nothing is stored: counters and connections die with this process"
	switch {
	case i.cfg == nil && i.cold != nil:
		return "no users, keys or sessions are stored; connections die with this process"
	case i.cfg == nil:
		return nothing
	case i.db != nil && i.cold != nil:
		return "users, clients, keys and sessions are in PostgreSQL; revocations in PostgreSQL, and pushed through Redis; attempts and tickets in Redis"
	case i.db != nil:
		return "users, clients, keys, sessions and revocations are in PostgreSQL; attempts and tickets in this process alone"
	case i.cold != nil:
		return "users, clients and API keys are those of the file, signing keys in `directory`; revocations in its journal, and pushed through Redis; attempts and tickets in Redis; sessions die with this process"
	default:
		return "users, clients and API keys are those of the file, signing keys and revocations in `directory`; sessions, attempts and tickets die with this process, and no other instance knows of them"
	}
}
