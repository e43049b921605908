package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestS1_ReloadsAndReplacementLoseNothing is the whole trial with less of everything;
// make soak-reload is the long one.
func TestS1_ReloadsAndReplacementLoseNothing(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := run(context.Background(), []string{"-rate", "300", "-connections", "100", "-sockets", "20", "-duration", "1500ms",
		"-reloads", "5", "-routes", "500", "-rounds", rounds, "-noise", "20ms"}, &out)
	t.Logf("\n%s", &out)
	if err != nil {
		t.Error(err)
	}
	if n := strings.Count(out.String(), "replaced"); n != 1 {
		t.Errorf("the gateway was replaced %d times", n)
	}
}

// TestFlawsAreFound: a run with a failure, with an answer missing, or without
// requests is none to be content with.
func TestFlawsAreFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		report loadReport
		want   string
	}{
		{loadReport{Sent: 10, Answered: 10}, ""},
		{loadReport{Sent: 10, Answered: 9, Failed: 1, Examples: map[string]string{"reset": "x"}}, "1 of 10 requests failed: map[reset:x]"},
		{loadReport{Sent: 10, Answered: 9}, "0 of 10 requests failed"},
		{loadReport{}, "0 of 0 requests failed"},
	} {
		err := c.report.flawless()
		if c.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.report, err, c.want)
		}
	}
}

// TestTheLoadsOwnFailure: a report of failures comes with code 1, all else is an error.
func TestTheLoadsOwnFailure(t *testing.T) {
	t.Parallel()
	if err := exitOf(exec.Command("sh", "-c", "exit 1").Run()); err != nil {
		t.Errorf("code 1: %v", err)
	}
	if err := exitOf(exec.Command("sh", "-c", "exit 2").Run()); err == nil {
		t.Error("code 2 is no error")
	}
	if err := exitOf(errors.New("no such file")); err == nil {
		t.Error("a load that did not start is no error")
	}
}

func TestTrialsThatCannotBegin(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(context.Background(), []string{"-reloads", "many"}, &out); err == nil || !strings.Contains(err.Error(), "read the flags") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := run(ctx, nil, &out); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
