package main

import (
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/bcrypt"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

func newHash() *cobra.Command {
	c := &cobra.Command{
		Use:   "hash",
		Short: "Make the hashes that stand in a configuration",
		Long: "Prints what a configuration holds in place of passwords, secrets and API keys. What is hashed is read from the\n" +
			"terminal, or from the first line of standard input.",
		Example: "  gateway hash password\n  gateway hash key",
	}
	c.AddCommand(newHashPassword(), newHashSecret(), newHashKey())
	return c
}

func newHashPassword() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "password",
		Short:   "Hash the password of a user, for identity.users.EMAIL.password_hash",
		Example: "  gateway hash password\n  gateway hash password < password.txt",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			password, err := askSecret(c, "password")
			if err != nil {
				return err
			}
			passwords := account.NewPasswords(account.PasswordsOptions{})
			if err := passwords.Check(password); err != nil {
				return refuse(c, err)
			}
			hash, err := passwords.Hash(withContext(c), password)
			if err != nil {
				return fmt.Errorf("hashing the password: %w", err)
			}
			return printHash(c, "password_hash", hash.Reveal(), asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// clientSecretCost is that of core/apikey, which makes the secrets of PostgreSQL.
const clientSecretCost = 10

func newHashSecret() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "secret",
		Short:   "Hash the secret of a client, for identity.clients.ID.secret_hash",
		Example: "  gateway hash secret\n  openssl rand -base64 32 | tee secret.txt | gateway hash secret",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			secret, err := askSecret(c, "secret")
			if err != nil {
				return err
			}
			hash, err := bcrypt.GenerateFromPassword([]byte(secret), clientSecretCost)
			if err != nil { // longer than bcrypt reads; it is never cut (SECURITY I12)
				return refuse(c, err)
			}
			return printHash(c, "secret_hash", string(hash), asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// hashedKey is a new API key as `gateway hash key --json` prints it.
type hashedKey struct {
	ID   string `json:"id"`
	Key  string `json:"key"`
	Hash string `json:"hash"`
}

func newHashKey() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "key",
		Short: "Make an API key and its hash, for identity.api_keys",
		Long: "Makes a new API key. The key itself is shown this once; what is printed below it belongs into the configuration,\n" +
			"with the client that owns it.",
		Example: "  gateway hash key\n  gateway hash key --json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			made, err := makeKey(c)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), made)
			}
			fmt.Fprintln(c.ErrOrStderr(), shownOnce("key"))
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n\nidentity:\n  api_keys:\n    %q: {hash: %q, client: CLIENT, scopes: []}\n", made.Key, made.ID, made.Hash)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// makeKey makes a key that no store knows.
func makeKey(c *cobra.Command) (hashedKey, error) {
	store, err := apikey.NewMemory(nil, nil)
	if err != nil {
		return hashedKey{}, fmt.Errorf("making a key: %w", err)
	}
	keys := apikey.New(apikey.Options{Store: store, Clock: clock.Real(), Meter: meter.NewSet(time.Now), Log: zerolog.Nop()})
	text, _, err := keys.Create(withContext(c), apikey.NewKey{Name: "new", User: "nobody"})
	if err != nil {
		return hashedKey{}, fmt.Errorf("making a key: %w", err)
	}
	id, hash, err := apikey.HashOf(text)
	if err != nil {
		return hashedKey{}, fmt.Errorf("hashing the new key: %w", err)
	}
	return hashedKey{id, text, hash.String()}, nil
}

// printHash prints one hash under its name in the configuration.
func printHash(c *cobra.Command, name, hash string, asJSON bool) error {
	if asJSON {
		return writeJSON(c.OutOrStdout(), map[string]string{name: hash})
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), hash)
	return err
}

// shownOnce is what people are told beside a secret.
func shownOnce(what string) string {
	return "Keep this " + what + " now: it can't be shown again."
}

// refuse reports why what was asked for is refused.
func refuse(c *cobra.Command, err error) error {
	fmt.Fprintf(c.ErrOrStderr(), "gateway: %v\n", err)
	return refused{exitRefused}
}
