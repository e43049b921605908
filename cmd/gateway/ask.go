package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// longestSecret bounds what is read for a secret, in bytes: more is a mistake.
const longestSecret = 4096

// askSecret reads a secret that its user has chosen: at a terminal it is asked for
// twice and not shown, otherwise it is the first line of standard input. It is never
// an argument, for those can be read by every process of the machine.
func askSecret(c *cobra.Command, what string) (string, error) {
	in := c.InOrStdin()
	if f, isFile := in.(*os.File); isFile && term.IsTerminal(int(f.Fd())) {
		return askTwice(c.ErrOrStderr(), int(f.Fd()), what)
	}
	line, err := bufio.NewReader(io.LimitReader(in, longestSecret+1)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the %s from standard input: %w", what, err)
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	switch {
	case line == "":
		return "", misused{fmt.Errorf("want the %s as the first line of standard input, got none", what)}
	case len(line) > longestSecret:
		return "", misused{fmt.Errorf("the %s is longer than %d bytes", what, longestSecret)}
	}
	return line, nil
}

func askTwice(out io.Writer, terminal int, what string) (string, error) {
	var typed [2]string
	for i, prompt := range []string{what, what + ", again"} {
		fmt.Fprintf(out, "%s: ", prompt)
		text, err := term.ReadPassword(terminal)
		fmt.Fprintln(out)
		if err != nil {
			return "", fmt.Errorf("reading the %s: %w", what, err)
		}
		typed[i] = string(text)
	}
	switch {
	case typed[0] == "":
		return "", misused{fmt.Errorf("want a %s, got none", what)}
	case typed[0] != typed[1]:
		return "", misused{errors.New("these were two different ones; nothing was changed")}
	}
	return typed[0], nil
}

// writeJSON prints v for programs.
func writeJSON(out io.Writer, v any) error {
	if err := json.NewEncoder(out).Encode(v); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}
