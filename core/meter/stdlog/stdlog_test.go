package stdlog

import (
	"log"
	"strings"
	"testing"
)

// One line is dropped, all others pass as they are. The standard logger is the
// process's, so this is one test.
func TestRedirect(t *testing.T) {
	if !Filtered {
		t.Error("nothing is filtered")
	}
	var got strings.Builder
	Redirect(&got)
	defer filter()
	log.Print("INFO: metrics: disable exposing PSI metrics because of failed init: open cpu.pressure")
	log.Print("ERROR: metrics: cannot determine memory status")
	if want := "ERROR: metrics: cannot determine memory status\n"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}
