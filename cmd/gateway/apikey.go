package main

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/store/postgres"
)

// keyRow is an API key as it is printed, without its hashes.
type keyRow struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Client    string     `json:"client,omitempty"`
	User      string     `json:"user,omitempty"`
	Scopes    []string   `json:"scopes"`
	Policy    string     `json:"policy,omitempty"`
	AllowFrom []string   `json:"allow_from,omitempty"`
	Version   int        `json:"version"`
	Active    bool       `json:"active"`
	Created   time.Time  `json:"created"`
	Expires   *time.Time `json:"expires,omitempty"`
	LastUsed  *time.Time `json:"last_used,omitempty"`
}

func rowOfKey(r apikey.Record) keyRow {
	row := keyRow{
		ID: r.ID, Name: r.Name, Client: r.Client, User: r.User, Scopes: append([]string{}, r.Scopes...), Policy: r.Policy,
		Active: r.Active, Created: at(r.Created), Expires: maybe(r.Expires), LastUsed: maybe(r.LastUsed),
	}
	for _, p := range r.AllowFrom {
		row.AllowFrom = append(row.AllowFrom, p.String())
	}
	if n := len(r.Versions); n > 0 {
		row.Version = r.Versions[n-1].Number
	}
	return row
}

// maybe is the time of unix seconds, or nil.
func maybe(seconds int64) *time.Time {
	if seconds == 0 {
		return nil
	}
	t := at(seconds)
	return &t
}

func newAPIKey() *cobra.Command {
	c := &cobra.Command{
		Use:     "apikey",
		Short:   "API keys: make, change and count them",
		Example: "  gateway apikey create --name ci --client ID --scopes content:read -c gateway.yaml\n  gateway apikey usage KEY -c gateway.yaml",
	}
	c.AddCommand(newAPIKeyCreate(), newAPIKeyRotate(), newAPIKeyRevoke(), newAPIKeyList(), newAPIKeyUsage())
	return c
}

// keysOf are the API keys in PostgreSQL. The shared tier is not needed: gateways hear
// of a change from PostgreSQL.
func keysOf(o *opened) *apikey.Keys {
	return apikey.New(apikey.Options{Store: postgres.NewAPIKeys(o.DB), Clock: clock.Real(), Meter: meter.NewSet(time.Now), Log: o.log})
}

func newAPIKeyCreate() *cobra.Command {
	var h held
	var n apikey.NewKey
	var from []string
	var expires string
	c := &cobra.Command{
		Use:   "create",
		Short: "Make a key; it is shown this once",
		Example: "  gateway apikey create --name ci --client ID --scopes content:read -c gateway.yaml\n" +
			"  gateway apikey create --name office --client ID --allow-from 192.0.2.0/24 --expires 2027-01-31 -c gateway.yaml",
		Args: noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if n.AllowFrom, err = prefixes(from); err != nil {
				return err
			}
			if n.Expires, err = timeOf("--expires", expires); err != nil {
				return err
			}
			return h.do(c, func(ctx context.Context, o *opened) error {
				text, key, err := keysOf(o).Create(ctx, n)
				if err != nil {
					return refuse(c, err)
				}
				return h.printKey(c, key.Principal.Key, text)
			})
		},
	}
	h.flags(c)
	c.Flags().StringVar(&n.Name, "name", "", "what people call it")
	c.Flags().StringVar(&n.Client, "client", "", "id of the client that owns it")
	c.Flags().StringVar(&n.User, "user", "", "id of the user for whom it acts")
	c.Flags().StringSliceVar(&n.Scopes, "scopes", nil, "what it may do, within what its client may")
	c.Flags().StringVar(&n.Policy, "policy", "", "rate-limit policy, in place of the client's")
	c.Flags().StringSliceVar(&from, "allow-from", nil, "`networks` that it may be used from; all by default")
	c.Flags().StringVar(&expires, "expires", "", "`time` of its end, such as 2027-01-31 or 2027-01-31T12:00:00Z; never by default")
	return c
}

// printKey prints a key that nobody can see again.
func (h *held) printKey(c *cobra.Command, id, text string) error {
	if h.asJSON {
		return writeJSON(c.OutOrStdout(), map[string]string{"id": id, "key": text})
	}
	fmt.Fprintln(c.ErrOrStderr(), shownOnce("key"))
	_, err := fmt.Fprintf(c.OutOrStdout(), "id   %s\nkey  %s\n", id, text)
	return err
}

// prefixes reads networks.
func prefixes(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, misused{fmt.Errorf("want a network such as 192.0.2.0/24, got %q", text)}
		}
		all = append(all, p)
	}
	return all, nil
}

// timeOf reads the time that a flag holds; empty is none.
func timeOf(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, misused{fmt.Errorf("%s: want a day such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z, got %q", flag, text)}
}

func newAPIKeyRotate() *cobra.Command {
	var h held
	var overlap time.Duration
	c := &cobra.Command{
		Use:   "rotate ID",
		Short: "Give a key a new secret, which is shown this once",
		Long: "Gives a key a new secret, which is good at once; the one in use is good for --overlap more. With an overlap of 0\n" +
			"every older one ends now: that is for a secret that has leaked.",
		Example: "  gateway apikey rotate lGt55QBTXMIyY7pV --overlap 24h -c gateway.yaml",
		Args:    oneWord("the key's id"),
		RunE: func(c *cobra.Command, words []string) error {
			return h.do(c, func(ctx context.Context, o *opened) error {
				text, err := keysOf(o).Rotate(ctx, words[0], overlap)
				if err != nil {
					return refuse(c, err)
				}
				return h.printKey(c, words[0], text)
			})
		},
	}
	h.flags(c)
	c.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the secret in use is good yet")
	return c
}

func newAPIKeyRevoke() *cobra.Command {
	var h held
	c := &cobra.Command{
		Use:     "revoke ID",
		Short:   "Switch a key off for good, everywhere within a second",
		Example: "  gateway apikey revoke lGt55QBTXMIyY7pV -c gateway.yaml",
		Args:    oneWord("the key's id"),
		RunE: func(c *cobra.Command, words []string) error {
			return h.do(c, func(ctx context.Context, o *opened) error {
				if err := keysOf(o).Revoke(ctx, words[0]); err != nil {
					return refuse(c, err)
				}
				return h.done(c, words[0], "revoked")
			})
		},
	}
	h.flags(c)
	return c
}

func newAPIKeyList() *cobra.Command {
	var h held
	c := &cobra.Command{
		Use:     "list",
		Short:   "List all keys",
		Example: "  gateway apikey list -c gateway.yaml\n  gateway apikey list -c gateway.yaml --json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			return h.do(c, func(ctx context.Context, o *opened) error {
				all, err := keysOf(o).List(ctx)
				if err != nil {
					return err
				}
				rows, cells := []keyRow{}, [][]string{}
				for _, k := range all {
					r := rowOfKey(k)
					rows = append(rows, r)
					cells = append(cells, []string{
						r.ID, word(r.Name), word(r.Client), word(r.User), listed(r.Scopes), strconv.Itoa(r.Version), yes(r.Active), momentOf(k.Expires), momentOf(k.LastUsed),
					})
				}
				if h.asJSON {
					return writeJSON(c.OutOrStdout(), rows)
				}
				return table(c.OutOrStdout(), "ID\tNAME\tCLIENT\tUSER\tSCOPES\tVERSION\tACTIVE\tEXPIRES\tLAST USED", cells)
			})
		},
	}
	h.flags(c)
	return c
}

// usageRow is one row of `gateway apikey usage --json`.
type usageRow struct {
	Hour     time.Time `json:"hour"`
	Route    string    `json:"route"`
	Version  int       `json:"version"`
	Requests int64     `json:"requests"`
	Errors   int64     `json:"errors"`
	Limited  int64     `json:"limited"`
	BytesIn  int64     `json:"bytes_in"`
	BytesOut int64     `json:"bytes_out"`
}

func newAPIKeyUsage() *cobra.Command {
	var h held
	var from, to string
	c := &cobra.Command{
		Use:     "usage ID",
		Short:   "Show what a key was used for, by hour, route and version",
		Example: "  gateway apikey usage lGt55QBTXMIyY7pV -c gateway.yaml\n  gateway apikey usage lGt55QBTXMIyY7pV --from 2027-01-01 --to 2027-02-01 -c gateway.yaml --json",
		Args:    oneWord("the key's id"),
		RunE: func(c *cobra.Command, words []string) error {
			begin, err := timeOf("--from", from)
			if err != nil {
				return err
			}
			end, err := timeOf("--to", to)
			if err != nil {
				return err
			}
			if end.IsZero() {
				end = time.Now().Add(time.Hour)
			}
			if begin.IsZero() {
				begin = end.Add(-24 * time.Hour)
			}
			return h.do(c, func(ctx context.Context, o *opened) error {
				rows, err := keysOf(o).Usage(ctx, words[0], begin, end)
				if err != nil {
					return refuse(c, err)
				}
				return h.printUsage(c, rows)
			})
		},
	}
	h.flags(c)
	c.Flags().StringVar(&from, "from", "", "`time` of the first hour; by default a day before the end")
	c.Flags().StringVar(&to, "to", "", "`time` of the end; by default now")
	return c
}

func (h *held) printUsage(c *cobra.Command, all []apikey.UsageRow) error {
	rows, cells := []usageRow{}, [][]string{}
	for _, u := range all {
		rows = append(rows, usageRow{at(u.Hour), u.Route, u.Version, u.Requests, u.Errors, u.Limited, u.In, u.Out})
		count := func(n int64) string { return strconv.FormatInt(n, 10) }
		cells = append(cells, []string{momentOf(u.Hour), u.Route, strconv.Itoa(u.Version), count(u.Requests), count(u.Errors), count(u.Limited), count(u.In), count(u.Out)})
	}
	if h.asJSON {
		return writeJSON(c.OutOrStdout(), rows)
	}
	return table(c.OutOrStdout(), "HOUR\tROUTE\tVERSION\tREQUESTS\tERRORS\tLIMITED\tBYTES IN\tBYTES OUT", cells)
}
