package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// How a listener looks after its connection.
const (
	againFirst = 50 * time.Millisecond  // after a lost connection
	againMost  = 500 * time.Millisecond // revocations are to be right within 2 s of a server's return
	pingEvery  = 3 * time.Second        // a connection that died without a word is found by this
	pingWithin = time.Second
)

// Listen calls woke with the payload of every NOTIFY on channel, and with "" whenever
// a connection has begun to listen: what was told before that is to be read from the
// tables. It has a connection of its own, makes a new one when that is lost, and
// returns when ctx is done. woke runs in Listen's goroutine; while it runs, the server
// keeps what it has to tell.
func (db *DB) Listen(ctx context.Context, channel string, woke func(payload string)) {
	pause, lost := againFirst, false
	for ctx.Err() == nil {
		err := db.listen(ctx, channel, func(payload string) {
			if lost {
				db.log.Info().Str("channel", channel).Msg("PostgreSQL tells of changes again")
			}
			pause, lost = againFirst, false
			woke(payload)
		})
		if ctx.Err() != nil {
			return
		}
		if !lost {
			db.log.Warn().Err(err).Str("channel", channel).Msg("PostgreSQL tells of no changes now")
			lost = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)): // not all gateways at once
		}
		pause = min(2*pause, againMost)
	}
}

// listen listens on one connection until it is lost.
func (db *DB) listen(ctx context.Context, channel string, woke func(payload string)) error {
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingWithin)
		defer cancel()
		_ = conn.Close(last) // it is of no more use, however it ends
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return err
	}
	woke("")
	for {
		n, err := waitFor(ctx, conn)
		switch {
		case err == nil:
			woke(n)
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && !conn.IsClosed():
			if err := ping(ctx, conn); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// waitFor returns the next payload, or context.DeadlineExceeded if there was none for
// a while.
func waitFor(ctx context.Context, conn *pgx.Conn) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, pingEvery)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	if err != nil {
		return "", err
	}
	return n.Payload, nil
}

func ping(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	return conn.Ping(ctx)
}
