// Command gateway is the Suuupra API gateway and its tools: serve, check, routes,
// explain, config, init and version.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes, for scripts.
const (
	exitOK       = 0
	exitRefused  = 1 // the configuration or the request was refused
	exitUsage    = 2 // the command line is wrong
	exitCutShort = 3 // serve ended, but had to cut exchanges off
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// refused is an error that has been reported already.
type refused struct{ code int }

func (r refused) Error() string { return fmt.Sprintf("exit code %d", r.code) }

// run executes one command line and returns its exit code.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	var r refused
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &r):
		return r.code
	default:
		fmt.Fprintf(stderr, "gateway: %v\n", err)
		return exitUsage
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "gateway",
		Short: "An API gateway with identity built in",
		Long: "gateway routes, checks and forwards HTTP for the services named in its configuration.\n\n" +
			"Exit codes: 0 done, 1 the configuration was refused, 2 the command line is wrong,\n" +
			"3 serve had to cut requests off when it stopped.",
		Example:           "  gateway init > gateway.yaml\n  gateway check -c gateway.yaml\n  gateway serve -c gateway.yaml",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.AddCommand(newServe(), newCheck(), newRoutes(), newExplain(), newConfig(), newInit(), newVersion())
	return root
}
