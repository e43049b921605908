package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/session"
	"github.com/suuupra/gateway/core/store/postgres"
)

// sessionRow is a session as it is printed.
type sessionRow struct {
	ID      string    `json:"id"`
	User    string    `json:"user"`
	Client  string    `json:"client"`
	Agent   string    `json:"agent"`
	Address string    `json:"address"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"`
	Ends    time.Time `json:"ends"`
}

func newSession() *cobra.Command {
	c := &cobra.Command{
		Use:     "session",
		Short:   "Who is logged in, and where",
		Example: "  gateway session list ada@example.com -c gateway.yaml\n  gateway session revoke ID -c gateway.yaml",
	}
	c.AddCommand(newSessionList(), newSessionRevoke())
	return c
}

// recorded writes revocations into PostgreSQL, which tells all gateways. It knows
// nothing of what is revoked already: a command asks nobody in.
type recorded struct{ *postgres.Revocations }

// Revoke saves entries.
func (r recorded) Revoke(ctx context.Context, entries ...revocation.Entry) error {
	if err := r.Save(ctx, entries); err != nil {
		return errors.Join(revocation.ErrNotDurable, err)
	}
	return nil
}

// Revoked is never asked by what a command does.
func (recorded) Revoked(string, string, int64) bool { return false }

// sessionsOf are the sessions in PostgreSQL, to be listed and ended.
func sessionsOf(o *opened) *session.Sessions {
	i := o.config.Identity
	return session.New(session.Options{
		Store: postgres.NewSessions(o.DB), Revocations: recorded{postgres.NewRevocations(o.DB)},
		Lifetime: time.Duration(i.Session.Lifetime), Grace: time.Duration(i.RefreshGrace), Refresh: time.Duration(i.RefreshToken),
		Leeway: time.Duration(i.Leeway), PerUser: i.Session.PerUser, Clock: clock.Real(), Log: o.log,
	})
}

// endAll ends all that a user has open (SECURITY I5).
func endAll(ctx context.Context, o *opened, user string) error {
	return sessionsOf(o).EndAll(ctx, user)
}

func newSessionList() *cobra.Command {
	var h held
	c := &cobra.Command{
		Use:     "list EMAIL",
		Short:   "List the sessions of a user",
		Example: "  gateway session list ada@example.com -c gateway.yaml\n  gateway session list ada@example.com -c gateway.yaml --json",
		Args:    oneWord("the user's e-mail address or id"),
		RunE: func(c *cobra.Command, args []string) error {
			return h.do(c, func(ctx context.Context, o *opened) error {
				a, err := accountsOf(o)
				if err != nil {
					return err
				}
				user, err := a.Find(ctx, args[0])
				if err != nil {
					return refuse(c, err)
				}
				all, err := sessionsOf(o).List(ctx, user.ID)
				if err != nil {
					return err
				}
				return h.printSessions(c, all)
			})
		},
	}
	h.flags(c)
	return c
}

func (h *held) printSessions(c *cobra.Command, all []session.Session) error {
	rows, cells := []sessionRow{}, [][]string{}
	for _, s := range all {
		r := sessionRow{s.ID, s.User, s.Client, s.Agent, s.Address, s.Created.UTC(), s.Used.UTC(), s.Ends.UTC()}
		rows = append(rows, r)
		// What a client said of itself is quoted: it must not draw on the terminal.
		cells = append(cells, []string{r.ID, word(r.Client), moment(r.Created), moment(r.Used), moment(r.Ends), word(r.Address), fmt.Sprintf("%q", r.Agent)})
	}
	if h.asJSON {
		return writeJSON(c.OutOrStdout(), rows)
	}
	return table(c.OutOrStdout(), "ID\tCLIENT\tCREATED\tUSED\tENDS\tADDRESS\tAGENT", cells)
}

func newSessionRevoke() *cobra.Command {
	var h held
	c := &cobra.Command{
		Use:     "revoke ID",
		Short:   "End a session, everywhere within a second",
		Example: "  gateway session revoke h3Vq0aYxq2mJ3m1H0q9mAg -c gateway.yaml",
		Args:    oneWord("the session's id"),
		RunE: func(c *cobra.Command, args []string) error {
			return h.do(c, func(ctx context.Context, o *opened) error {
				if err := sessionsOf(o).End(ctx, "", args[0]); err != nil {
					return refuse(c, err)
				}
				return h.done(c, args[0], "revoked")
			})
		},
	}
	h.flags(c)
	return c
}
