package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/config"
)

// The states of a diagnosis.
const (
	stateOK   = "ok"
	stateWarn = "warn" // it works, but not as one would wish
	stateFail = "fail" // the gateway can't start, or can't do what it is there for
)

// diagnosis is what doctor says of one thing. No text of it holds a secret.
type diagnosis struct {
	State string `json:"state"`
	Check string `json:"check"`
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what to change; empty where all is well
}

// line is the diagnosis for people.
func (f diagnosis) line() string {
	text := f.Text
	if f.Do != "" {
		text += " -> " + f.Do
	}
	return f.State + "\t" + f.Check + "\t" + strings.ReplaceAll(text, "\n", " ")
}

// examination is one run of doctor.
type examination struct {
	operator *operator
	config   *config.Config
	seen     *observed
	gateway  *answering // nil: none answers
}

// check looks at one thing, until ctx ends at the latest.
type check func(ctx context.Context, e *examination) []diagnosis

// checks are all that doctor looks at once the configuration is read, in the order
// in which they are printed.
func checks() []check {
	return []check{checkFiles, checkSecrets, checkDirectory, checkGateway, checkListeners, checkCertificates, checkOpenFiles, checkClock, checkDatabase, checkRedis, checkDiscovery, checkServices}
}

func newDoctor() *cobra.Command {
	var o operator
	var asJSON bool
	var within time.Duration
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what would keep the gateway from running well here",
		Long: "Looks at the configuration, its files and secrets, the addresses to listen on, certificates, the limit of open\n" +
			"files, the clock, PostgreSQL, Redis, who finds endpoints, the endpoints of services, and the gateway that runs, if\n" +
			"one does. Prints one line for each: ok, warn or fail, what was found, and what to do. Changes nothing. Run it where\n" +
			"the gateway runs, as its user. Exits 1 if anything fails.",
		Example: "  gateway doctor -c gateway.yaml\n  gateway doctor -c gateway.yaml --json",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			if within <= 0 {
				return misused{errors.New("want a --timeout above 0")}
			}
			ctx, cancel := context.WithTimeout(withContext(c), within)
			defer cancel()
			found := examine(ctx, &o)
			if err := printFindings(c.OutOrStdout(), found, asJSON); err != nil {
				return fmt.Errorf("writing the findings: %w", err)
			}
			for _, f := range found {
				if f.State == stateFail {
					return refused{exitRefused}
				}
			}
			return nil
		},
	}
	o.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	c.Flags().DurationVar(&within, "timeout", 10*time.Second, "how long it may take in all")
	return c
}

// examine reads the configuration and carries out all checks, at once.
func examine(ctx context.Context, o *operator) []diagnosis {
	e := &examination{operator: o}
	found, well := e.read()
	if !well {
		return append(append(found, checkOpenFiles(ctx, e)...), checkClock(ctx, e)...)
	}
	e.gateway = askRunning(ctx, o)
	all := checks()
	parts := make([][]diagnosis, len(all))
	var running sync.WaitGroup
	for i, look := range all {
		running.Go(func() { parts[i] = look(ctx, e) })
	}
	running.Wait()
	for _, p := range parts {
		found = append(found, p...)
	}
	return found
}

// read reads the configuration as serve does.
func (e *examination) read() (found []diagnosis, well bool) {
	const name = "configuration"
	const advice = "`gateway check` lists them all"
	cfg, report, seen := e.operator.from.read()
	e.config, e.seen = cfg, seen
	files := strings.Join(e.operator.from.files, ", ")
	if problems := report.Problems(); report.Failed() {
		text := fmt.Sprintf("%s has %s, the first at %s", files, counted(len(problems), "problem"), problems[0])
		return []diagnosis{{stateFail, name, text, advice}}, false
	}
	if err := tryCompile(cfg); err != nil {
		return []diagnosis{{stateFail, name, files + " can't be served: " + err.Error(), "change what it names, and try `gateway check`"}}, false
	}
	if warnings := report.Warnings(); len(warnings) > 0 {
		return []diagnosis{{stateWarn, name, fmt.Sprintf("%s has %s, the first at %s", files, counted(len(warnings), "warning"), warnings[0]), advice}}, true
	}
	text := fmt.Sprintf("%s: %s, %s", files, counted(len(cfg.Services), "service"), counted(len(cfg.Routes), "route"))
	return []diagnosis{{stateOK, name, text, ""}}, true
}

func printFindings(out io.Writer, found []diagnosis, asJSON bool) error {
	if asJSON {
		return writeJSON(out, found)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, f := range found {
		fmt.Fprintln(w, f.line())
	}
	return w.Flush()
}
