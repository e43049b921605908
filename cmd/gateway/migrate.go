package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/store/postgres"
)

// stepRow is one migration as `gateway migrate --json` prints it.
type stepRow struct {
	Number int64      `json:"number"`
	Name   string     `json:"name"`
	Done   *time.Time `json:"done"` // null: not done
}

func newMigrate() *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Make or change the tables in PostgreSQL",
		Long: "Brings the tables of stores.postgres to the form that this binary works with. Each step is one transaction, and\n" +
			"of several programs that migrate one database one does it while the others wait. A newer gateway works beside\n" +
			"an older one: migrate first, then replace the instances.",
		Example: "  gateway migrate status -c gateway.yaml\n  gateway migrate up -c gateway.yaml",
	}
	c.AddCommand(newMigrateUp(), newMigrateDown(), newMigrateStatus())
	return c
}

func newMigrateUp() *cobra.Command {
	var m migration
	c := &cobra.Command{
		Use:     "up",
		Short:   "Do all steps that are missing",
		Example: "  gateway migrate up -c gateway.yaml\n  gateway migrate up -c gateway.yaml --json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			return m.run(c, postgres.Up, "nothing to do: all steps are done")
		},
	}
	m.flags(c)
	return c
}

func newMigrateDown() *cobra.Command {
	var m migration
	var yes bool
	c := &cobra.Command{
		Use:     "down",
		Short:   "Undo the last step, with all that is in its tables",
		Example: "  gateway migrate down --yes -c gateway.yaml",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			if !yes {
				return misused{errors.New("what stands in the tables of the last step would be lost; say --yes if that is meant")}
			}
			return m.run(c, postgres.Down, "nothing to undo: no step is done")
		},
	}
	m.flags(c)
	c.Flags().BoolVar(&yes, "yes", false, "lose what stands in the tables of that step")
	return c
}

func newMigrateStatus() *cobra.Command {
	var m migration
	c := &cobra.Command{
		Use:     "status",
		Short:   "List all steps, and which are done; exits 1 if one is missing",
		Example: "  gateway migrate status -c gateway.yaml\n  gateway migrate status -c gateway.yaml --json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			return m.run(c, postgres.Status, "")
		},
	}
	m.flags(c)
	return c
}

// migration is what the commands of migrate have in common.
type migration struct {
	from   source
	asJSON bool
}

func (m *migration) flags(c *cobra.Command) {
	m.from.flags(c)
	c.Flags().BoolVar(&m.asJSON, "json", false, "print JSON")
}

// run does action and prints the steps that it was about; nothing is what it prints
// if there were none.
func (m *migration) run(c *cobra.Command, action postgres.Action, nothing string) error {
	cfg, _, err := m.from.load(c.ErrOrStderr())
	if err != nil {
		return err
	}
	url, err := databaseURL(cfg)
	if err != nil {
		return err
	}
	steps, err := postgres.Migrate(withContext(c), url, action)
	rows := []stepRow{}
	missing := false
	for _, s := range steps {
		row := stepRow{Number: s.Number, Name: s.Name}
		if !s.Done.IsZero() {
			row.Done = &s.Done
		}
		missing = missing || row.Done == nil
		rows = append(rows, row)
	}
	if len(rows) > 0 || err == nil { // what was done before a step failed is done
		err = errors.Join(err, m.print(c.OutOrStdout(), rows, nothing))
	}
	if err == nil && missing && action == postgres.Status {
		return refused{exitRefused}
	}
	return err
}

func (m *migration) print(out io.Writer, rows []stepRow, nothing string) error {
	if m.asJSON {
		return writeJSON(out, rows)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(out, nothing)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tDONE")
	for _, r := range rows {
		done := "no"
		if r.Done != nil {
			done = r.Done.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\n", r.Name, done)
	}
	return w.Flush()
}

// errNoDatabase says that a command has nothing to work on.
var errNoDatabase = errors.New("the configuration names no PostgreSQL: stores: {postgres: {url_file: …}}")

// databaseURL is where PostgreSQL is.
func databaseURL(cfg *config.Config) (string, error) {
	if cfg.Stores == nil || cfg.Stores.Postgres == nil {
		return "", errNoDatabase
	}
	return cfg.Stores.Postgres.URL.Reveal(), nil
}

// withContext is the context of a command; one that was not given any goes on until
// it is done, or killed.
func withContext(c *cobra.Command) context.Context {
	if ctx := c.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}
