package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/config"
)

func newCheck() *cobra.Command {
	var from source
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Report every problem of a configuration",
		Long: "Reads a configuration as serve does, compiles it, and reports every problem with its place, what was wrong\n" +
			"and what would be right. Starts nothing. Exits 1 if serve would refuse the configuration.",
		Example: "  gateway check -c gateway.yaml\n  gateway check -c gateway.yaml --no-env --json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			if asJSON {
				return checkJSON(c, &from)
			}
			cfg, _, err := from.load(c.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := tryCompile(cfg); err != nil {
				fmt.Fprintln(c.ErrOrStderr(), err)
				return refused{exitRefused}
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "ok: %s, %s\n", counted(len(cfg.Services), "service"), counted(len(cfg.Routes), "route"))
			return err
		},
	}
	from.lookingFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the problems as JSON")
	return c
}

// counted is n things, in words.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// problemRow is one problem as `gateway check --json` prints it.
type problemRow struct {
	Source  string `json:"source"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Text    string `json:"text"`
	Suggest string `json:"suggest,omitempty"`
	Warning bool   `json:"warning"`
}

// checkJSON prints the problems, then the warnings, as one JSON array.
func checkJSON(c *cobra.Command, from *source) error {
	cfg, report, _ := from.read()
	rows := []problemRow{}
	for _, p := range append(report.Problems(), report.Warnings()...) {
		rows = append(rows, problemRow{p.At.Source, p.At.Line, p.At.Column, p.Path, p.Text, p.Suggest, p.Warning})
	}
	bad := report.Failed()
	if !bad {
		if err := tryCompile(cfg); err != nil {
			rows, bad = append(rows, problemRow{Text: err.Error()}), true
		}
	}
	if err := json.NewEncoder(c.OutOrStdout()).Encode(rows); err != nil {
		return fmt.Errorf("writing the problems: %w", err)
	}
	if bad {
		return refused{exitRefused}
	}
	return nil
}

// tryCompile says what serve would not accept of a configuration that was read well.
func tryCompile(cfg *config.Config) error {
	s, err := compile(cfg)
	if err != nil {
		return err
	}
	return s.close()
}
