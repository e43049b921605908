package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/admin"
)

func newStatus() *cobra.Command {
	var o operator
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how the running gateway is",
		Long: "Asks the running gateway for its version, readiness, health, configuration, last reload, listeners and\n" +
			"connections. Exits 1 if it is not ready, 4 if it does not answer.",
		Example: "  gateway status -c gateway.yaml\n  gateway status -c gateway.yaml --json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			resp, err := o.ask(fasthttp.MethodGet, "/admin/status")
			if err != nil {
				return err
			}
			var s admin.Status
			if err := json.Unmarshal(resp.Body(), &s); err != nil || s.Version == "" {
				return declined(c, resp)
			}
			if asJSON {
				_, err = c.OutOrStdout().Write(resp.Body())
			} else {
				err = printStatus(c.OutOrStdout(), &s)
			}
			if err != nil {
				return fmt.Errorf("writing the status: %w", err)
			}
			if !s.Ready {
				return refused{exitRefused}
			}
			return nil
		},
	}
	o.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printStatus prints s for people.
func printStatus(out io.Writer, s *admin.Status) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	ready := "ready"
	if !s.Ready {
		ready = "not ready: " + s.Reason
	}
	f := s.Snapshot
	fmt.Fprintf(w, "gateway\t%s, process %d, up %s, %s\n", s.Version, s.PID, seconds(s.UptimeSeconds), ready)
	fmt.Fprintf(w, "health\t%s\n", s.Health)
	fmt.Fprintf(w, "log level\t%s\n", s.LogLevel)
	fmt.Fprintf(w, "snapshot\tversion %d, %d routes, %d services, in force for %s, %.12s\n", f.Version, f.Routes, f.Services, seconds(f.AgeSeconds), f.Hash)
	fmt.Fprintf(w, "files\t%s\n", strings.Join(f.Sources, ", "))
	fmt.Fprintf(w, "last reload\t%s\n", lastReload(f.LastReload))
	c := s.Connections
	most := fmt.Sprintf(" of %d", c.Maximum)
	if c.Maximum == 0 {
		most = ""
	}
	fmt.Fprintf(w, "connections\t%d%s, %d upgraded\n", c.Open, most, c.Upgraded)
	for _, l := range c.Listeners {
		fmt.Fprintf(w, "  %s\t%s, %d open, %d of them idle, %d accepted\n", l.Name, l.Address, l.Open, l.Idle, l.Accepted)
	}
	return w.Flush()
}

func seconds(n int64) string { return (time.Duration(n) * time.Second).String() }

// lastReload says what came of the last reload.
func lastReload(o *admin.Outcome) string {
	if o == nil {
		return "none"
	}
	text := fmt.Sprintf("%s at %s, asked for by %s", o.Result, o.At.Format(time.RFC3339), o.Trigger)
	switch len(o.Problems) {
	case 0:
		return text
	case 1:
		return text + ": " + o.Problems[0].String()
	default:
		return fmt.Sprintf("%s; the first of %d problems: %s", text, len(o.Problems), o.Problems[0])
	}
}
