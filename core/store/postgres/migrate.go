package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/suuupra/gateway/migrations"
)

// Action is what Migrate does.
type Action int

// The actions.
const (
	Up     Action = iota // does all steps that are missing
	Down                 // undoes the last step that was done
	Status               // changes nothing
)

// Step is one migration.
type Step struct {
	Number int64
	Name   string    // of its file
	Done   time.Time // zero: not yet, or not any more
}

// Migrate brings the tables to the program's own form, or a step back, and returns
// the steps that it did or undid; for Status, all. Each step is one transaction. Of
// several programs that migrate one database one does it, the others wait for it.
func Migrate(ctx context.Context, url string, action Action) ([]Step, error) {
	c, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("reading the URL of PostgreSQL: %w", err)
	}
	settle(c)
	db := stdlib.OpenDB(*c)
	defer db.Close()                            // nothing of it is left to fail
	if err := db.PingContext(ctx); err != nil { // the library's own error would speak of locks
		return nil, fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	alone, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120), lock.WithUnlockTimeout(1, 5))
	if err != nil {
		return nil, fmt.Errorf("preparing the lock for migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Files,
		goose.WithSessionLocker(alone), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("reading the migrations: %w", err)
	}
	return migrate(ctx, p, action)
}

func migrate(ctx context.Context, p *goose.Provider, action Action) ([]Step, error) {
	switch action {
	case Up:
		results, err := p.Up(ctx)
		return steps(results, time.Now()), failed(err)
	case Down:
		result, err := p.Down(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return nil, nil
		}
		return steps([]*goose.MigrationResult{result}, time.Time{}), failed(err)
	default:
		all, err := p.Status(ctx)
		if err != nil {
			return nil, failed(err)
		}
		list := make([]Step, 0, len(all))
		for _, s := range all {
			list = append(list, Step{s.Source.Version, path.Base(s.Source.Path), s.AppliedAt})
		}
		slices.SortFunc(list, func(a, b Step) int { return cmp.Compare(a.Number, b.Number) })
		return list, nil
	}
}

// steps are the results without those of which there is nothing to tell.
func steps(results []*goose.MigrationResult, done time.Time) []Step {
	var list []Step
	for _, r := range results {
		if r != nil && r.Error == nil {
			list = append(list, Step{r.Source.Version, path.Base(r.Source.Path), done})
		}
	}
	return list
}

func failed(err error) error {
	if err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	return nil
}
