package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/revocation/revocationtest"
)

func journalIn(t testing.TB, directory string) revocation.Durable {
	return made(t, revocation.Options{Directory: directory}).Journal()
}

func TestTheJournalIsADurableStore(t *testing.T) {
	t.Parallel()
	revocationtest.TestDurable(t, func(t *testing.T) func() revocation.Durable {
		directory := t.TempDir()
		return func() revocation.Durable { return journalIn(t, directory) }
	})
}

func TestI4_TheJournalSurvives(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "gateway")
	m := running(t, revocation.Options{Directory: directory})
	revoke(t, m, session("a"), revocation.Entry{Key: "user:u", NotBefore: 7, Expires: hence(time.Hour)})
	for _, name := range []string{"", "revocations.journal", "revocations.lock"} {
		info, err := os.Stat(filepath.Join(directory, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	// Another process of the same directory, and one after it.
	other := running(t, revocation.Options{Directory: directory})
	if !other.Revoked("a", "", 0) || !other.Revoked("", "u", 6) || other.Revoked("", "u", 7) {
		t.Error("it does not hold after a restart")
	}
	revoke(t, other, session("b"))
	revocationtest.Eventually(t, "the first process reads what the second wrote", func() bool { return m.Revoked("b", "", 0) })
}

func TestI4_TornAndDamagedLinesCostNothingElse(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	path := filepath.Join(directory, "revocations.journal")
	j := journalIn(t, directory)
	for i := range 3 {
		if err := j.Save(t.Context(), []revocation.Entry{session(fmt.Sprint("before-", i))}); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(content), "\n")
	for cut := range len(lines[2]) - 1 { // without its end alone a line is whole
		torn := lines[0] + "x" + lines[1] + "\x00\x00\n" + lines[2][:cut]
		if err := os.WriteFile(path, []byte(torn), 0o600); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		m := made(t, revocation.Options{Directory: directory, Log: zerolog.New(&log)})
		if !m.Revoked("before-0", "", 0) || m.Revoked("xbefore-1", "", 0) || m.Revoked("before-2", "", 0) {
			t.Fatalf("cut at %d: %v", cut, m.All())
		}
		if !strings.Contains(log.String(), `"lines":2`) {
			t.Fatalf("logged %s", log.String())
		}
		revoke(t, m, session("after"))
		again := made(t, revocation.Options{Directory: directory})
		if !again.Revoked("before-0", "", 0) || !again.Revoked("after", "", 0) || again.Count() != 2 {
			t.Fatalf("cut at %d, and gone on: %v", cut, again.All())
		}
	}
	// What is damaged goes with the next purge.
	if err := j.Purge(t.Context(), hence(0)); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	if m := made(t, revocation.Options{Directory: directory, Log: zerolog.New(&log)}); m.Count() != 2 || log.Len() != 0 {
		t.Errorf("%v, logged %s", m.All(), log.String())
	}
}

func TestTheJournalIsCompacted(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	path := filepath.Join(directory, "revocations.journal")
	j := journalIn(t, directory)
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	cursor := ""
	if err := j.Purge(t.Context(), hence(0)); err != nil {
		t.Fatalf("where there is no journal: %v", err)
	}
	var many []revocation.Entry
	for i := range 5000 {
		many = append(many, revocation.Entry{Key: "user:k" + fmt.Sprint(i%10), NotBefore: int64(i + 1), Expires: hence(time.Hour)})
	}
	if err := j.Save(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	_, cursor, err := j.Since(t.Context(), cursor)
	if err != nil {
		t.Fatal(err)
	}
	before := size()
	if err := j.Purge(t.Context(), hence(0)); err != nil {
		t.Fatal(err)
	}
	if after := size(); after*100 > before {
		t.Errorf("%d bytes became %d", before, after)
	}
	compact := size()
	if err := j.Purge(t.Context(), hence(0)); err != nil || size() != compact {
		t.Errorf("compacted for nothing: %v", err)
	}
	if err := j.Save(t.Context(), []revocation.Entry{session("new")}); err != nil {
		t.Fatal(err)
	}
	got, _, err := j.Since(t.Context(), cursor)
	if err != nil || len(got) != 11 {
		t.Errorf("a cursor of the old file gives %d entries, %v", len(got), err)
	}
	for _, wrong := range []string{"x", "1:2", cursor + "0", strings.Replace(cursor, ":", ":x", 1)} {
		if got, _, err := j.Since(t.Context(), wrong); err != nil || len(got) != 11 {
			t.Errorf("cursor %q gives %d entries, %v", wrong, len(got), err)
		}
	}
}

func TestI6_AJournalThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	m := made(t, revocation.Options{Directory: directory})
	lock, err := os.OpenFile(filepath.Join(directory, "revocations.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := m.Revoke(ctx, session("a")); !errors.Is(err, revocation.ErrNotDurable) {
		t.Errorf("somebody else holds the lock: %v", err)
	}
	if !m.Revoked("a", "", 0) {
		t.Error("it holds here all the same")
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	// What is no file at all.
	if err := os.Mkdir(filepath.Join(directory, "revocations.journal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := m.Revoke(t.Context(), session("b")); !errors.Is(err, revocation.ErrNotDurable) {
		t.Errorf("got %v", err)
	}
	if err := m.Journal().Purge(t.Context(), 1); err == nil {
		t.Error("a folder was purged")
	}
	o := revocation.Options{Directory: directory, Clock: clockOf(), Meter: meterOf()}
	if _, err := revocation.New(o); err == nil || !strings.Contains(err.Error(), "reading the journal of revocations") {
		t.Errorf("got %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := made(t, revocation.Options{Directory: t.TempDir()}).Revoke(t.Context(), session("c")); err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := revocation.New(revocation.Options{Directory: file, Clock: clockOf(), Meter: meterOf()}); err == nil {
		t.Error("a file is no directory")
	}
}

func TestRevokingWithoutAnyStore(t *testing.T) {
	t.Parallel()
	m := running(t, revocation.Options{})
	revoke(t, m, session("a"))
	if _, ready := m.State(); !ready || !m.Revoked("a", "", 0) {
		t.Error("it lives as long as the process")
	}
}
