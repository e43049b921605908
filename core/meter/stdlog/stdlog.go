// Package stdlog owns what libraries write to the standard logger, which the
// gateway itself never uses.
//
// github.com/VictoriaMetrics/metrics looks for the kernel's pressure figures in a
// variable of its package, and says on standard error where there are none. That
// is before main, so only the order of initialisation can come first: packages are
// initialised as soon as their imports are, the lowest import path first (Go
// specification, "Program initialization"). The metrics need net/http; this
// package imports only what net/http imports too, and sorts before it. A test runs
// the built gateway and wants its standard error empty.
package stdlog

import (
	"bytes"
	"io"
	"log"
	"os"
)

// Filtered says that the standard logger drops the one line. A package that imports
// the metrics refers to it, so that this package is part of every program that has
// them.
var Filtered = filter()

func filter() bool {
	log.SetOutput(pressure{os.Stderr})
	return true
}

// pressure passes everything on but the line about pressure figures: it says
// nothing that an operator could act on, and stands before the output of every
// command.
type pressure struct{ to io.Writer }

// Write implements io.Writer; a line comes in one call.
func (p pressure) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("disable exposing PSI metrics")) {
		return len(line), nil
	}
	return p.to.Write(line)
}

// Redirect sends what libraries write to w from now on, one call for each line,
// without a time of its own. It is for the start of a program whose log has another
// form than theirs.
func Redirect(w io.Writer) {
	log.SetFlags(0)
	log.SetOutput(pressure{w})
}
