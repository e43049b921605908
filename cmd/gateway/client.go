package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/store/postgres"
)

// clientRow is a client as it is printed, without the hash of its secret.
type clientRow struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Scopes       []string  `json:"scopes"`
	Policy       string    `json:"policy,omitempty"`
	RedirectURIs []string  `json:"redirect_uris,omitempty"`
	Active       bool      `json:"active"`
	Created      time.Time `json:"created"`
	Secret       string    `json:"secret,omitempty"` // of create alone
}

func rowOfClient(c apikey.Client) clientRow {
	return clientRow{
		ID: c.ID, Name: c.Name, Scopes: append([]string{}, c.Scopes...), Policy: c.Policy, RedirectURIs: c.RedirectURIs,
		Active: c.Active, Created: at(c.Created),
	}
}

func newClient() *cobra.Command {
	c := &cobra.Command{
		Use:     "client",
		Short:   "Applications: they own API keys, and cap them",
		Example: "  gateway client create --name portal --scopes courses,content:read -c gateway.yaml\n  gateway client list -c gateway.yaml",
	}
	c.AddCommand(newClientCreate(), newClientList(), newClientDisable())
	return c
}

// clientsOf are the clients in PostgreSQL.
func clientsOf(o *opened) *apikey.Clients {
	return apikey.NewClients(postgres.NewAPIKeys(o.DB), clock.Real())
}

func newClientCreate() *cobra.Command {
	var h held
	var n apikey.NewClient
	c := &cobra.Command{
		Use:     "create",
		Short:   "Make a client; its secret is shown this once",
		Example: "  gateway client create --name portal --scopes courses,content:read -c gateway.yaml",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			return h.do(c, func(ctx context.Context, o *opened) error {
				secret, client, err := clientsOf(o).Create(ctx, n)
				if err != nil {
					return refuse(c, err)
				}
				if h.asJSON {
					row := rowOfClient(client)
					row.Secret = secret
					return writeJSON(c.OutOrStdout(), row)
				}
				fmt.Fprintln(c.ErrOrStderr(), shownOnce("secret"))
				_, err = fmt.Fprintf(c.OutOrStdout(), "id      %s\nsecret  %s\n", client.ID, secret)
				return err
			})
		},
	}
	h.flags(c)
	c.Flags().StringVar(&n.Name, "name", "", "what people call it")
	c.Flags().StringSliceVar(&n.Scopes, "scopes", nil, "the most that it, and each of its keys, may do")
	c.Flags().StringVar(&n.Policy, "policy", "", "rate-limit policy")
	c.Flags().StringArrayVar(&n.RedirectURIs, "redirect-uri", nil, "`URI` that users may be sent back to; may be given again")
	return c
}

func newClientList() *cobra.Command {
	var h held
	c := &cobra.Command{
		Use:     "list",
		Short:   "List all clients",
		Example: "  gateway client list -c gateway.yaml\n  gateway client list -c gateway.yaml --json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			return h.do(c, func(ctx context.Context, o *opened) error {
				all, err := clientsOf(o).List(ctx)
				if err != nil {
					return err
				}
				rows, cells := []clientRow{}, [][]string{}
				for _, client := range all {
					r := rowOfClient(client)
					rows = append(rows, r)
					cells = append(cells, []string{r.ID, word(r.Name), listed(r.Scopes), word(r.Policy), yes(r.Active), moment(r.Created)})
				}
				if h.asJSON {
					return writeJSON(c.OutOrStdout(), rows)
				}
				return table(c.OutOrStdout(), "ID\tNAME\tSCOPES\tPOLICY\tACTIVE\tCREATED", cells)
			})
		},
	}
	h.flags(c)
	return c
}

func newClientDisable() *cobra.Command {
	var h held
	c := &cobra.Command{
		Use:     "disable ID",
		Short:   "Switch a client off, and all its keys, everywhere within a second",
		Example: "  gateway client disable 0b1c1f0e-6a53-4d3a-9c55-0f0e3f9b6a11 -c gateway.yaml",
		Args:    oneWord("the client's id"),
		RunE: func(c *cobra.Command, words []string) error {
			return h.do(c, func(ctx context.Context, o *opened) error {
				if err := clientsOf(o).Disable(ctx, words[0]); err != nil {
					return refuse(c, err)
				}
				return h.done(c, words[0], "disabled")
			})
		},
	}
	h.flags(c)
	return c
}

// yes is a boolean for people.
func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// done tells what was done to the thing of that id.
func (h *held) done(c *cobra.Command, id, what string) error {
	if h.asJSON {
		return writeJSON(c.OutOrStdout(), map[string]string{"id": id, "result": what})
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s %s\n", what, id)
	return err
}
