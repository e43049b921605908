package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/token"
)

// signingRow is a signing key as it is printed: nothing of it is secret.
type signingRow struct {
	ID      string     `json:"kid"`
	Purpose string     `json:"purpose"`
	Phase   string     `json:"phase"`
	Created time.Time  `json:"created"`
	Signs   time.Time  `json:"signs"`
	Ends    *time.Time `json:"ends,omitempty"`
}

func newKeys() *cobra.Command {
	c := &cobra.Command{
		Use:     "keys",
		Short:   "The keys that sign tokens",
		Example: "  gateway keys list -c gateway.yaml\n  gateway keys rotate -c gateway.yaml",
	}
	c.AddCommand(newKeysList(), newKeysRotate())
	return c
}

func newKeysList() *cobra.Command {
	var h held
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the signing keys",
		Example: "  gateway keys list -c gateway.yaml\n  gateway keys list -c gateway.yaml --json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			return h.withKeys(c, func(_ context.Context, keys *token.Keys) error {
				return h.printSigning(c, keys.List())
			})
		},
	}
	h.flags(c)
	return c
}

func newKeysRotate() *cobra.Command {
	var h held
	var compromised string
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Let the next signing keys sign, or drop a compromised one",
		Long: "The next keys sign as soon as they have been published for signing_keys.publish_ahead. With --compromised the\n" +
			"key of that kid is dropped instead: what it signed is refused everywhere within a second.",
		Example: "  gateway keys rotate -c gateway.yaml\n  gateway keys rotate --compromised KID -c gateway.yaml",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			return h.withKeys(c, func(ctx context.Context, keys *token.Keys) error {
				all, err := keys.Rotate(ctx, compromised)
				if err != nil {
					return refuse(c, err)
				}
				return h.printSigning(c, all)
			})
		},
	}
	h.flags(c)
	c.Flags().StringVar(&compromised, "compromised", "", "`kid` of a key that others may have")
	return c
}

// withKeys calls work with the signing keys: those in PostgreSQL, or in a file of this
// machine. The gateways that use them look at them each second.
func (h *held) withKeys(c *cobra.Command, work func(ctx context.Context, keys *token.Keys) error) error {
	cfg, _, err := h.from.load(c.ErrOrStderr())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(withContext(c), workWithin)
	defer cancel()
	log, _ := newLog(cfg.Telemetry.Log, c.ErrOrStderr())
	o := token.KeysOptions{Store: token.NewFileKeys(cfg.Directory), Clock: clock.Real(), Log: log}
	if url, err := databaseURL(cfg); err == nil {
		db, err := postgres.Open(ctx, postgres.Options{URL: url, Log: log})
		if err != nil {
			return err
		}
		defer db.Close()
		o.Store = postgres.NewSigningKeys(db)
	}
	stored, err := o.Store.Load(ctx)
	if err != nil { // Keys would wait for a store that is away
		return fmt.Errorf("reading the signing keys: %w", err)
	}
	if len(stored) == 0 { // Keys would make some, which are then this user's files
		return refuse(c, errors.New("there are no signing keys yet: a gateway makes them at its first start"))
	}
	fillKeys(&o, cfg.Identity)
	keys, err := token.OpenKeys(ctx, o)
	if err != nil {
		return err
	}
	return work(ctx, keys)
}

// fillKeys sets what the configuration says of signing keys.
func fillKeys(o *token.KeysOptions, i *config.Identity) {
	if i == nil {
		return
	}
	o.EncryptionKey = i.SigningKeys.Key
	o.RotateEvery, o.PublishAhead = time.Duration(i.SigningKeys.RotateEvery), time.Duration(i.SigningKeys.PublishAhead)
	o.Longest = max(time.Duration(i.AccessToken), time.Duration(i.RefreshToken))
}

func (h *held) printSigning(c *cobra.Command, all []token.KeyInfo) error {
	rows, cells := []signingRow{}, [][]string{}
	for _, k := range all {
		r := signingRow{ID: k.ID, Purpose: string(k.Purpose), Phase: k.Phase, Created: k.Created.UTC(), Signs: k.Signs.UTC()}
		if !k.Ends.IsZero() {
			ends := k.Ends.UTC()
			r.Ends = &ends
		}
		rows = append(rows, r)
		cells = append(cells, []string{r.ID, r.Purpose, r.Phase, moment(r.Created), moment(r.Signs), moment(k.Ends)})
	}
	if h.asJSON {
		return writeJSON(c.OutOrStdout(), rows)
	}
	return table(c.OutOrStdout(), "KID\tPURPOSE\tPHASE\tCREATED\tSIGNS FROM\tENDS", cells)
}
