package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/admin"
)

func newReload() *cobra.Command {
	var o operator
	var asJSON bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Have the running gateway read its configuration again",
		Long: "Asks the running gateway to read its files again, waits for the outcome and prints every problem as check\n" +
			"does. Exits 1 if the configuration was refused: what was in force still is. Where the gateway listens and which\n" +
			"token it takes is read from the same files.",
		Example: "  gateway reload -c gateway.yaml\n  gateway reload --address 127.0.0.1:9901 --token-file /var/lib/gateway/admin.token",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			resp, err := o.ask(fasthttp.MethodPost, "/admin/reload")
			if errors.Is(err, errNowhere) { // what keeps it from being told would be refused, too
				_, report, _ := o.from.read()
				if err := report.Write(c.ErrOrStderr()); err != nil || report.Failed() {
					fmt.Fprintf(c.ErrOrStderr(), "gateway: %v\n", errNowhere)
					return errors.Join(err, refused{exitRefused})
				}
			}
			if err != nil {
				return err
			}
			var outcome admin.Outcome
			if err := json.Unmarshal(resp.Body(), &outcome); err != nil || outcome.Result == "" {
				return declined(c, resp)
			}
			return printOutcome(c, &outcome, asJSON)
		},
	}
	o.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the outcome as JSON")
	return c
}

// printOutcome prints the problems as check does, and what is in force now.
func printOutcome(c *cobra.Command, o *admin.Outcome, asJSON bool) error {
	var err error
	if asJSON {
		err = json.NewEncoder(c.OutOrStdout()).Encode(o)
	} else {
		err = admin.Print(c.ErrOrStderr(), o.Problems)
	}
	if err != nil {
		return fmt.Errorf("writing the outcome: %w", err)
	}
	if o.Result != admin.Applied {
		return refused{exitRefused}
	}
	if !asJSON {
		fmt.Fprintf(c.OutOrStdout(), "ok: version %d is in force, %.12s\n", o.Version, o.Hash)
	}
	return nil
}
