package admin

import (
	"fmt"
	"io"
	"time"

	"github.com/suuupra/gateway/core/setting"
)

// The results of a reload.
const (
	Applied = "applied"
	Refused = "refused" // what was in force still is
)

// Outcome is what came of one reload.
type Outcome struct {
	Result  string    `json:"result"`
	Trigger string    `json:"trigger"` // who asked: start, signal, watch or admin
	At      time.Time `json:"at"`      // when it was done
	// Milliseconds is how long it took.
	Milliseconds int64 `json:"milliseconds"`
	// Version and Hash are of the configuration in force afterwards.
	Version uint64 `json:"version"`
	Hash    string `json:"hash"`
	// Problems are all errors and warnings, in the order of `gateway check`.
	Problems []Problem `json:"problems"`
}

// Problem is one thing that is wrong with a configuration, or worth a warning.
// Secrets are masked in all of it.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Text    string `json:"text"`
	Suggest string `json:"suggest,omitempty"` // what was probably meant
	Excerpt string `json:"excerpt,omitempty"` // the line, with a caret below the place
	Warning bool   `json:"warning"`           // the configuration works all the same
}

// Problems lists what a report holds.
func Problems(r *setting.Report) []Problem {
	out := []Problem{}
	for _, p := range r.All() {
		out = append(out, Problem{
			File: p.At.Source, Line: p.At.Line, Column: p.At.Column,
			Path: p.Path, Text: p.Text, Suggest: p.Suggest, Excerpt: r.Excerpt(p.At), Warning: p.Warning,
		})
	}
	return out
}

// String is the problem without its excerpt, on one line without an end.
func (p Problem) String() string {
	return setting.Problem{
		At:   setting.Position{Source: p.File, Line: p.Line, Column: p.Column},
		Path: p.Path, Text: p.Text, Suggest: p.Suggest, Warning: p.Warning,
	}.String()
}

// Print writes problems as `gateway check` does.
func Print(w io.Writer, problems []Problem) error {
	for _, p := range problems {
		if _, err := io.WriteString(w, p.String()+"\n"+p.Excerpt); err != nil {
			return fmt.Errorf("printing the problems: %w", err)
		}
	}
	return nil
}

// InForce says which configuration is in force.
type InForce struct {
	Version  uint64    `json:"version"` // counts from 1 with each that was put in force
	LoadedAt time.Time `json:"loadedAt"`
	// AgeSeconds is how long it has been in force; filled in when it is shown.
	AgeSeconds int64 `json:"ageSeconds"`
	// Sources are the files that it was read from.
	Sources []string `json:"sources"`
	// Hash is the SHA-256, in hex, of the effective configuration as `gateway
	// config show` prints it: instances with one hash do the same. Secrets and
	// what came from the environment don't count: the hash is shown to anybody
	// and would let guesses be tried.
	Hash     string `json:"hash"`
	Routes   int    `json:"routes"`
	Services int    `json:"services"`
	// LastReload is the last one that was tried, nil if there was none.
	LastReload *Outcome `json:"lastReload"`
}
