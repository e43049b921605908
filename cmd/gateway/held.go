package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/store/postgres"
)

// held is what the commands take that look at, and change, what PostgreSQL holds: users,
// clients, keys and sessions. They need no gateway to run: those that do are told by
// PostgreSQL.
type held struct {
	from   source
	asJSON bool
}

func (h *held) flags(c *cobra.Command) {
	h.from.flags(c)
	c.Flags().BoolVar(&h.asJSON, "json", false, "print JSON")
}

// opened is PostgreSQL with the configuration that names it.
type opened struct {
	*postgres.DB
	config *config.Config
	log    zerolog.Logger
}

// open reads the configuration and opens PostgreSQL. The caller closes it.
func (h *held) open(c *cobra.Command) (*opened, error) {
	cfg, _, err := h.from.load(c.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	url, err := databaseURL(cfg)
	if err != nil {
		return nil, fmt.Errorf("%w; without it, users, clients and keys stand in the file under identity, and sessions in the gateway that runs", err)
	}
	if cfg.Identity == nil {
		return nil, errors.New("the configuration has no identity")
	}
	log, _ := newLog(cfg.Telemetry.Log, c.ErrOrStderr())
	db, err := postgres.Open(withContext(c), postgres.Options{URL: url, Log: log})
	if err != nil {
		return nil, err
	}
	return &opened{DB: db, config: cfg, log: log}, nil
}

// do opens PostgreSQL, calls work and closes it.
func (h *held) do(c *cobra.Command, work func(ctx context.Context, o *opened) error) error {
	o, err := h.open(c)
	if err != nil {
		return err
	}
	defer o.Close()
	ctx, cancel := context.WithTimeout(withContext(c), workWithin)
	defer cancel()
	return work(ctx, o)
}

// workWithin bounds the work of one command.
const workWithin = 30 * time.Second

// table prints rows of cells below their titles.
func table(out io.Writer, titles string, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, titles)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// moment prints a time for people: "never" for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

// momentOf is moment for seconds since 1970.
func momentOf(seconds int64) string { return moment(at(seconds)) }

// at is the time of unix seconds, of which 0 is none.
func at(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// listed prints the words of a list, or a dash.
func listed(words []string) string {
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ",")
}

// word prints text, or a dash.
func word(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// oneWord wants exactly one argument: what names the thing.
func oneWord(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, words []string) error {
		if len(words) != 1 {
			return fmt.Errorf("want one word, %s; got %d", what, len(words))
		}
		return nil
	}
}
