package main

import (
	_ "embed"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// starter is the file that `gateway init` writes. A test checks that it is valid.
//
//go:embed starter.yaml
var starter []byte

func newInit() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "init",
		Short:   "Write a small annotated configuration to start from",
		Example: "  gateway init > gateway.yaml\n  gateway init -o gateway.yaml",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			if output == "" {
				_, err := c.OutOrStdout().Write(starter)
				return err
			}
			f, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return fmt.Errorf("init writes new files only: %w", err)
			}
			if _, err := f.Write(starter); err != nil {
				return fmt.Errorf("writing %s: %w", output, err)
			}
			return f.Close()
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "`file` to write instead of standard output; it must not exist")
	return c
}
