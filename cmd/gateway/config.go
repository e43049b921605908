package main

import (
	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/plugins"
)

func newConfig() *cobra.Command {
	c := &cobra.Command{
		Use:     "config",
		Short:   "Show the effective configuration, or the language's schema",
		Example: "  gateway config show --origin -c gateway.yaml\n  gateway config schema > gateway.schema.json",
	}
	c.AddCommand(newConfigShow(), newConfigSchema())
	return c
}

func newConfigShow() *cobra.Command {
	var from source
	var origin bool
	c := &cobra.Command{
		Use:     "show",
		Short:   "Print the effective configuration: files, overlays, defaults and profiles merged; secrets masked",
		Example: "  gateway config show -c gateway.yaml\n  gateway config show --origin -c base.yaml -c production.yaml",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := from.load(c.ErrOrStderr())
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write([]byte(config.Effective(cfg, origin)))
			return err
		},
	}
	from.lookingFlags(c)
	c.Flags().BoolVar(&origin, "origin", false, "add the file and line that each value came from")
	return c
}

func newConfigSchema() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the configuration language",
		Example: "  gateway config schema > gateway.schema.json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			options := map[string]map[string]any{}
			for _, p := range plugins.All() {
				options[p.Name] = p.Schema()
			}
			schema, err := config.Schema(options)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(schema)
			return err
		},
	}
}
