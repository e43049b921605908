package postgres

import (
	"context"
	"fmt"
	"time"
)

// Server is what the database server says of itself.
type Server struct {
	Version     string        // such as 16.3
	Number      int           // such as 160003
	ReadOnly    bool          // it is a standby, or told to refuse changes
	Connections int           // that it takes at most
	Pool        int           // that this program may open at most
	Skew        time.Duration // how far its clock is ahead of this machine's
}

// Survey asks the server what it is, for operators.
func (db *DB) Survey(ctx context.Context) (Server, error) {
	s := Server{Pool: int(db.pool.Config().MaxConns)}
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return s, fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	defer conn.Release()
	asked := time.Now()
	var theirs time.Time
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('server_version_num')::int,
		current_setting('transaction_read_only')::bool, current_setting('max_connections')::int, clock_timestamp()`).
		Scan(&s.Version, &s.Number, &s.ReadOnly, &s.Connections, &theirs)
	if err != nil {
		return s, fmt.Errorf("asking PostgreSQL what it is: %w", err)
	}
	s.Skew = theirs.Sub(asked.Add(time.Since(asked) / 2))
	return s, nil
}
