package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

func newCheck() *cobra.Command {
	var from source
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Report every problem of a configuration",
		Long: "Reads a configuration as serve does, compiles it, and reports every problem with its place, what was wrong\n" +
			"and what would be right. Starts nothing. Exits 1 if serve would refuse the configuration.",
		Example: "  gateway check -c gateway.yaml\n  gateway check -c gateway.yaml --no-env",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if asJSON {
				return checkJSON(c, &from)
			}
			cfg, err := from.load(c.ErrOrStderr())
			if err != nil {
				return err
			}
			s, err := compile(cfg)
			if err != nil {
				fmt.Fprintln(c.ErrOrStderr(), err)
				return refused{exitRefused}
			}
			fmt.Fprintf(c.OutOrStdout(), "ok: %d services, %d routes\n", len(cfg.Services), len(cfg.Routes))
			return s.close()
		},
	}
	from.lookingFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the problems as JSON")
	return c
}

// checkJSON prints the problems as one JSON array.
func checkJSON(c *cobra.Command, from *source) error {
	_, report := from.read()
	if err := json.NewEncoder(c.OutOrStdout()).Encode(report.Problems()); err != nil {
		return fmt.Errorf("writing the problems: %w", err)
	}
	if report.Failed() {
		return refused{exitRefused}
	}
	return nil
}
