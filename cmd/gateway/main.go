// Command gateway is the Suuupra API gateway and its tools: serve, reload, status,
// doctor, check, routes, explain, config, init and version; migrate, hash, user,
// client, apikey, keys and session for what it stores.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, for scripts and units. A unit may restart after exitFailed, never
// after exitRefused or exitUsage: those end the same way each time.
const (
	exitOK       = 0
	exitRefused  = 1 // the configuration, or what was asked for, is refused
	exitUsage    = 2 // the command line is wrong
	exitCutShort = 3 // serve ended, but had to cut exchanges off
	exitFailed   = 4 // it could not be done: an address in use, a file that exists
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// refused is an error that has been reported already.
type refused struct{ code int }

func (r refused) Error() string { return fmt.Sprintf("exit code %d", r.code) }

// failed is an error of a command that was understood and could not do its work.
type failed struct{ error }

// misused is an error of the command line that only the command itself can find.
type misused struct{ error }

// run executes one command line and returns its exit code.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteC()
	var r refused
	var f failed
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &r):
		return r.code
	case errors.As(err, &f):
		fmt.Fprintf(stderr, "gateway: %v\n%s", err, advice(f.error))
		return exitFailed
	default:
		fmt.Fprintf(stderr, "gateway: %v\n`%s --help` shows how it is used.\n", err, command.CommandPath())
		return exitUsage
	}
}

// advice says what to do about an error of the system, or nothing.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "Another process listens there (`ss -ltnp` names it): stop it, or choose another address.\n"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "No interface of this machine has that address (`ip address` lists them).\n"
	case errors.Is(err, syscall.EACCES):
		return "This user may not: files need the right permissions, ports below 1024 the capability CAP_NET_BIND_SERVICE.\n"
	case errors.Is(err, fs.ErrExist):
		return "Choose another name, or take the file away first.\n"
	default:
		return ""
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "gateway",
		Short: "An API gateway with identity built in",
		Long: "gateway routes, checks and forwards HTTP for the services named in its configuration.\n\n" +
			"Exit codes: 0 done, 1 the configuration, or what was asked for, is refused, 2 the command line is wrong,\n" +
			"3 serve had to cut requests off when it stopped, 4 it could not be done: an address is in use, a file\n" +
			"exists, no gateway answers.",
		Example:       "  gateway init -o gateway.yaml\n  gateway check -c gateway.yaml\n  gateway serve -c gateway.yaml",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newServe(), newReload(), newStatus(), newDoctor(), newCheck(), newRoutes(), newExplain(), newConfig(), newInit(), newVersion(),
		newMigrate(), newHash(), newUser(), newClient(), newAPIKey(), newKeys(), newSession())
	root.SetHelpCommand(newHelp(root))
	root.InitDefaultCompletionCmd()
	finish(root)
	return root
}

// newHelp is cobra's own, but for an exit code when there is nothing to show.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Example: "  gateway help serve\n  gateway help config show",
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("unknown command %q for %q", rest[0], c.CommandPath())
			}
			if err != nil {
				return misused{err}
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	}
}

// finish gives every command what all have in common: an error of its work is not
// taken for one of the command line, a group of commands refuses words that name
// none, and each shell's completion shows how it is called.
func finish(c *cobra.Command) {
	for _, sub := range c.Commands() {
		finish(sub)
	}
	if c.Example == "" {
		c.Example = "  source <(" + c.CommandPath() + ")"
		if c.HasSubCommands() {
			c.Example = "  source <(" + c.CommandPath() + " bash)"
		}
	}
	do := c.RunE
	switch {
	case do == nil && c.HasSubCommands() && c.HasParent():
		c.Args = noWords
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	case do != nil:
		c.RunE = func(c *cobra.Command, args []string) error { return outcome(do(c, args)) }
	}
}

// noWords is for commands that take none. Who gives a file as a word learns how it
// is named.
func noWords(c *cobra.Command, words []string) error {
	switch {
	case len(words) == 0:
		return nil
	case c.HasSubCommands():
		return fmt.Errorf("unknown command %q for %q", words[0], c.CommandPath())
	case c.Flags().Lookup("config") != nil:
		return fmt.Errorf("%q is one word too many; a configuration is named by -c %s", words[0], words[0])
	default:
		return fmt.Errorf("%q is one word too many", words[0])
	}
}

// outcome names the errors of a command's work.
func outcome(err error) error {
	if err == nil || errors.As(err, new(refused)) || errors.As(err, new(misused)) {
		return err
	}
	return failed{err}
}
