package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const unitFolder = "../../configs/systemd"

// units copies the unit files to a folder, with an executable where the gateway will
// be installed, and returns their paths.
func units(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var paths []string
	for _, name := range []string{"gateway.service", "gateway@.service", "gateway.socket"} {
		text := unit(t, name)
		text = strings.ReplaceAll(text, "/usr/local/bin/gateway", self)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func unit(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(unitFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// analyze runs systemd-analyze, which `make test` installs.
func analyze(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestOP1_UnitsAreClean(t *testing.T) {
	t.Parallel()
	paths := units(t)
	paths[1] = strings.Replace(paths[1], "@.", "@1.", 1) // an instance
	if out := analyze(t, append([]string{"verify", "--man=no"}, paths...)...); out != "" {
		t.Errorf("systemd-analyze verify says:\n%s", out)
	}
	// It says nothing of units that are well, so it must be shown to say something.
	bad := filepath.Join(t.TempDir(), "gateway.service")
	if err := os.WriteFile(bad, []byte(strings.Replace(unit(t, "gateway.service"), "\n[Install]", "ProtectEverything=yes\n\n[Install]", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command("systemd-analyze", "verify", "--man=no", bad).CombinedOutput()
	if !strings.Contains(string(out), "ProtectEverything") {
		t.Errorf("an unknown key goes unnoticed: %s", out)
	}
}

func TestOP1_UnitsAreHardened(t *testing.T) {
	t.Parallel()
	const most = 2.0
	for _, path := range units(t)[:2] {
		out := analyze(t, "security", "--offline=true", path)
		m := regexp.MustCompile(`Overall exposure level for .*: ([0-9.]+) `).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("no level in\n%s", out)
		}
		if level, err := strconv.ParseFloat(m[1], 64); err != nil || level > most {
			t.Errorf("%s: exposure %s, want at most %v\n%s", filepath.Base(path), m[1], most, out)
		}
	}
}

// TestOP1_InstancesAreTheService: what is changed in one unit is changed in the other.
func TestOP1_InstancesAreTheService(t *testing.T) {
	t.Parallel()
	settings := func(name string) (lines []string) {
		for line := range strings.Lines(unit(t, name)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				lines = append(lines, line)
			}
		}
		return lines
	}
	want := settings("gateway.service")
	for i, line := range want {
		switch line {
		case "Description=Suuupra Gateway":
			want[i] += ", instance %i"
		case "NotifyAccess=main":
			want[i] += "\nEnvironment=ADMIN_PORT=990%i"
		}
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(settings("gateway@.service"), "\n")); diff != "" {
		t.Errorf("gateway@.service differs from gateway.service in more than it says (- want, + got):\n%s", diff)
	}
}

// TestOP1_UnitsFitTheProgram: the units name a listener and commands that there are.
func TestOP1_UnitsFitTheProgram(t *testing.T) {
	t.Parallel()
	if !strings.Contains(unit(t, "gateway.socket"), "\nFileDescriptorName=public\n") {
		t.Error("the socket is not named as the default listener")
	}
	for line := range strings.Lines(unit(t, "gateway.service")) {
		command, ok := strings.CutPrefix(line, "Exec")
		if !ok {
			continue
		}
		words := strings.Fields(command)[1:]
		found, rest, err := newRoot().Find(words)
		if err != nil || found.Name() != words[0] {
			t.Errorf("%q: no such command: %v", line, err)
			continue
		}
		if err := found.ParseFlags(rest); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}
