package postgres

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
)

const (
	dialWithin   = 2 * time.Second // to the end of the server's greeting; the URL's connect_timeout goes before
	healthWithin = time.Second
	connections  = 16 // the pool may have, if the URL's pool_max_conns does not say
)

// Options are what Open needs.
type Options struct {
	URL string // postgres://…; also the settings that pgxpool reads from it
	Log zerolog.Logger
}

// DB is a pool of connections to one database. It may be used concurrently.
type DB struct {
	pool *pgxpool.Pool
	log  zerolog.Logger
}

// Open makes the pool. The server need not be there yet: connections are made when
// they are needed, and errors come from what needs them. It fails on a URL that can't
// be read, without naming the password in it.
func Open(ctx context.Context, o Options) (*DB, error) {
	c, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the URL of PostgreSQL: %w", err)
	}
	settle(c.ConnConfig)
	if c.MaxConns == int32(max(4, runtime.NumCPU())) { // the library's own default: too few beside its cores
		c.MaxConns = connections
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("making the pool of PostgreSQL: %w", err)
	}
	return &DB{pool: pool, log: o.Log.With().Str("store", "postgres").Logger()}, nil
}

// settle sets what our connections have in common.
func settle(c *pgx.ConnConfig) {
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = dialWithin
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "gateway"
	}
}

// Close waits for what is under way and closes all connections.
func (db *DB) Close() { db.pool.Close() }

// Healthy says whether the database answers, within a second.
func (db *DB) Healthy(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	return db.pool.Ping(ctx) == nil
}
