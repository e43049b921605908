package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/store/postgres"
)

// userRow is a user as it is printed.
type userRow struct {
	ID      string    `json:"id"`
	Email   string    `json:"email"`
	Scopes  []string  `json:"scopes"`
	Active  bool      `json:"active"`
	MFA     bool      `json:"mfa"`
	Created time.Time `json:"created"`
}

func rowOfUser(u account.User) userRow {
	return userRow{u.ID, u.Email, append([]string{}, u.Scopes.List()...), u.Active, u.MFA, u.Created.UTC()}
}

func newUser() *cobra.Command {
	c := &cobra.Command{
		Use:   "user",
		Short: "Users who can log in",
		Long: "Users who can log in, in PostgreSQL. Passwords are read from the terminal, or from the first line of standard\n" +
			"input. What a user held before a change that concerns it is refused everywhere within a second.",
		Example: "  gateway user create ada@example.com --scopes courses -c gateway.yaml\n  gateway user list -c gateway.yaml",
	}
	c.AddCommand(newUserCreate(), newUserList(),
		newUserChange(userChange{
			use: "disable", short: "Switch a user off, and end all that the user has open", result: "disabled",
			change: func(ctx context.Context, a *account.Accounts, who, _ string) (account.User, error) {
				return a.Disable(ctx, who)
			},
		}),
		newUserChange(userChange{
			use: "passwd", short: "Set a user's password, and end all that the user has open", result: "changed the password of", secret: "password",
			change: func(ctx context.Context, a *account.Accounts, who, password string) (account.User, error) {
				return a.SetPassword(ctx, who, password)
			},
		}),
		newUserChange(userChange{
			use: "reset-mfa", short: "Remove the second factor of a user who lost it, and end all that the user has open", result: "removed the second factor of",
			change: func(ctx context.Context, a *account.Accounts, who, _ string) (account.User, error) {
				return a.ResetMFA(ctx, who)
			},
		}))
	return c
}

// accountsOf are the users in PostgreSQL.
func accountsOf(o *opened) (*account.Accounts, error) {
	i := o.config.Identity
	var breached *account.Breached
	if file := i.Passwords.Breached.File(); file != "" {
		var err error
		if breached, err = account.LoadBreached(file); err != nil {
			return nil, err
		}
	}
	return account.New(account.Options{
		Store: postgres.NewUsers(o.DB), Throttle: account.NewMemoryThrottle(clock.Real()),
		Passwords: account.NewPasswords(account.PasswordsOptions{Breached: breached}), EncryptionKey: i.SigningKeys.Key,
		Clock: clock.Real(), Log: o.log,
	}), nil
}

// withAccounts calls work with the users in PostgreSQL.
func (h *held) withAccounts(c *cobra.Command, work func(ctx context.Context, o *opened, a *account.Accounts) error) error {
	return h.do(c, func(ctx context.Context, o *opened) error {
		a, err := accountsOf(o)
		if err != nil {
			return err
		}
		return work(ctx, o, a)
	})
}

// scopesOf reads the words of a --scopes flag.
func scopesOf(words []string) (principal.Scopes, error) {
	scopes, err := principal.NewScopes(words)
	if err != nil {
		return principal.Scopes{}, misused{err}
	}
	return scopes, nil
}

func newUserCreate() *cobra.Command {
	var h held
	var words []string
	c := &cobra.Command{
		Use:     "create EMAIL",
		Short:   "Make a user; the password is asked for",
		Example: "  gateway user create ada@example.com --scopes courses,content:read -c gateway.yaml\n  gateway user create ada@example.com -c gateway.yaml < password.txt",
		Args:    oneWord("the user's e-mail address"),
		RunE: func(c *cobra.Command, args []string) error {
			scopes, err := scopesOf(words)
			if err != nil {
				return err
			}
			password, err := askSecret(c, "password")
			if err != nil {
				return err
			}
			return h.withAccounts(c, func(ctx context.Context, _ *opened, a *account.Accounts) error {
				u, err := a.Create(ctx, args[0], password, scopes)
				if err != nil {
					return refuse(c, err)
				}
				if h.asJSON {
					return writeJSON(c.OutOrStdout(), rowOfUser(u))
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "created %s (%s)\n", u.ID, u.Email)
				return err
			})
		},
	}
	h.flags(c)
	c.Flags().StringSliceVar(&words, "scopes", nil, "what the user may do")
	return c
}

func newUserList() *cobra.Command {
	var h held
	c := &cobra.Command{
		Use:     "list",
		Short:   "List all users",
		Example: "  gateway user list -c gateway.yaml\n  gateway user list -c gateway.yaml --json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			return h.withAccounts(c, func(ctx context.Context, _ *opened, a *account.Accounts) error {
				all, err := a.List(ctx)
				if err != nil {
					return err
				}
				rows, cells := []userRow{}, [][]string{}
				for _, u := range all {
					r := rowOfUser(u)
					rows = append(rows, r)
					cells = append(cells, []string{r.ID, r.Email, listed(r.Scopes), yes(r.Active), yes(r.MFA), moment(r.Created)})
				}
				if h.asJSON {
					return writeJSON(c.OutOrStdout(), rows)
				}
				return table(c.OutOrStdout(), "ID\tEMAIL\tSCOPES\tACTIVE\tMFA\tCREATED", cells)
			})
		},
	}
	h.flags(c)
	return c
}

// userChange is a change after which nothing of what the user held before is good.
type userChange struct {
	use, short, result string
	secret             string // what is asked for; empty: nothing
	change             func(ctx context.Context, a *account.Accounts, who, secret string) (account.User, error)
}

func newUserChange(u userChange) *cobra.Command {
	var h held
	c := &cobra.Command{
		Use:     u.use + " EMAIL",
		Short:   u.short,
		Example: "  gateway user " + u.use + " ada@example.com -c gateway.yaml",
		Args:    oneWord("the user's e-mail address or id"),
		RunE: func(c *cobra.Command, args []string) error {
			var secret string
			if u.secret != "" {
				var err error
				if secret, err = askSecret(c, u.secret); err != nil {
					return err
				}
			}
			return h.withAccounts(c, func(ctx context.Context, o *opened, a *account.Accounts) error {
				user, err := u.change(ctx, a, args[0], secret)
				if err != nil {
					return refuse(c, err)
				}
				if err := endAll(ctx, o, user.ID); err != nil {
					return fmt.Errorf("the change was made, but what %s has open could not be ended; try again: %w", user.Email, err)
				}
				return h.done(c, user.Email, u.result)
			})
		},
	}
	h.flags(c)
	return c
}
