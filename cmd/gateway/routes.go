package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/config"
)

// routeRow is one line of `gateway routes`.
type routeRow struct {
	Name    string   `json:"name"`
	Methods []string `json:"methods"`
	Hosts   []string `json:"hosts"`
	Paths   []string `json:"paths"`
	Answer  string   `json:"answer"`
	Pins    []string `json:"pins,omitempty"`
	Mirror  string   `json:"mirror,omitempty"`
	Plugins []string `json:"plugins"`
	At      string   `json:"at"`
}

func newRoutes() *cobra.Command {
	var from source
	var asJSON bool
	c := &cobra.Command{
		Use:     "routes",
		Short:   "Print the route table in match order",
		Example: "  gateway routes -c gateway.yaml\n  gateway routes -c gateway.yaml --json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := from.load(c.ErrOrStderr())
			if err != nil {
				return err
			}
			rows, err := routeRows(c, cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(rows)
			}
			return printRoutes(c, rows)
		},
	}
	from.lookingFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// routeRows lists the routes in the order in which they are matched.
func routeRows(c *cobra.Command, cfg *config.Config) ([]routeRow, error) {
	s, err := compileOrRefuse(c, cfg)
	if err != nil {
		return nil, err
	}
	rows := make([]routeRow, 0, len(cfg.Routes))
	for _, r := range admin.Routes(s.Snapshot) {
		row := routeRow{Name: r.Name, Answer: r.Answer, Pins: r.Pins, Mirror: r.Mirror, At: r.At, Methods: r.Methods, Hosts: r.Hosts, Paths: r.Paths, Plugins: []string{}}
		for _, p := range r.Plugins {
			row.Plugins = append(row.Plugins, p.Name)
		}
		rows = append(rows, row)
	}
	return rows, s.close()
}

func printRoutes(c *cobra.Command, rows []routeRow) error {
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ROUTE\tMETHODS\tHOSTS\tPATHS\tANSWER\tPLUGINS\tAT")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, orAny(r.Methods), orAny(r.Hosts), orAny(r.Paths), r.answered(), orNone(r.Plugins), r.At)
	}
	return w.Flush()
}

// answered is where the answers come from, with who is pinned and who gets copies.
func (r *routeRow) answered() string {
	out := r.Answer
	for _, pin := range r.Pins {
		out += "; " + pin
	}
	if r.Mirror != "" {
		out += "; mirror " + r.Mirror
	}
	return out
}

func orAny(list []string) string {
	if len(list) == 0 {
		return "any"
	}
	return strings.Join(list, ",")
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ",")
}
