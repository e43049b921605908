package admin_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/suuupra/gateway/core/admin"
)

// TestC11_OneTokenIsMadeAndKept starts many processes' worth at once: one token
// comes of it, in a file that is the owner's alone.
func TestC11_OneTokenIsMadeAndKept(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "a", "state")
	got := make([]admin.Token, 16)
	var starts sync.WaitGroup
	for i := range got {
		starts.Go(func() {
			var err error
			if got[i], err = admin.OwnToken(directory); err != nil {
				t.Error(err)
			}
		})
	}
	starts.Wait()
	for _, token := range got {
		if token != got[0] || token.Name != "generated" || !token.Write {
			t.Errorf("got %v and %v", token, got[0])
		}
	}
	kept, err := admin.OwnToken(directory)
	if err != nil || kept != got[0] {
		t.Errorf("at the next start: %v", err)
	}
	secret, err := admin.ReadTokenFile(admin.TokenPath(directory))
	if err != nil || len(secret.Reveal()) != 43 || admin.NewToken("generated", true, secret) != got[0] {
		t.Errorf("the file holds %d characters: %v", len(secret.Reveal()), err)
	}
	names, err := os.ReadDir(directory)
	if err != nil || len(names) != 1 || names[0].Name() != "admin.token" {
		t.Errorf("the directory holds %v: %v", names, err)
	}
	for path, want := range map[string]fs.FileMode{directory: 0o700, admin.TokenPath(directory): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func TestC11_WhatOthersCanReachIsRefused(t *testing.T) {
	t.Parallel()
	const good = "0123456789abcdef0123456789abcdef\n"
	file := func(text string, mode fs.FileMode) func(*testing.T, string) {
		return func(t *testing.T, directory string) {
			if err := os.WriteFile(admin.TokenPath(directory), []byte(text), mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(admin.TokenPath(directory), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, directory string)
		want    string // of the error; empty: there is a token
	}{
		"good":       {file(good, 0o600), ""},
		"read only":  {file(good, 0o400), ""},
		"group":      {file(good, 0o640), "admin.token is open to other users (mode 0640): chmod go= it"},
		"world":      {file(good, 0o604), "is open to other users"},
		"short":      {file("0123456789abcdef0123456789abcde\n", 0o600), "admin.token holds no token"},
		"empty":      {file("", 0o600), "holds no token"},
		"two lines":  {file(good+good, 0o600), "holds no token"},
		"a folder":   {func(t *testing.T, d string) { _ = os.Mkdir(admin.TokenPath(d), 0o700) }, "is no file"},
		"a pipe":     {func(t *testing.T, d string) { _ = syscall.Mkfifo(admin.TokenPath(d), 0o600) }, "is no file"},
		"open above": {func(t *testing.T, d string) { _ = os.Chmod(d, 0o755) }, "is open to other users (mode 0755): chmod go= it"},
	} {
		directory := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		c.prepare(t, directory)
		_, err := admin.OwnToken(directory)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// ownedBy is a file of another user.
type ownedBy struct {
	fs.FileInfo
	uid uint32
}

func (o ownedBy) Sys() any { return &syscall.Stat_t{Uid: o.uid} }

func TestC11_AnotherUsersFileIsRefused(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "state")
	if _, err := admin.OwnToken(directory); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(admin.TokenPath(directory))
	if err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[int]string{0: "", os.Geteuid(): "", 4711: "x belongs to another user (uid 4711)"} {
		got := ""
		if err := admin.Private("x", ownedBy{info, uint32(uid)}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("uid %d: got %q, want %q", uid, got, want)
		}
	}
}

func TestNoTokenWhereNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, directory := range []string{plain, filepath.Join(plain, "below"), "/proc/nothing", "/dev/full"} {
		if _, err := admin.OwnToken(directory); err == nil || !strings.HasPrefix(err.Error(), "keeping an admin token: ") {
			t.Errorf("%s: got %v", directory, err)
		}
	}
	if _, err := admin.ReadTokenFile(filepath.Join(plain, "x")); err == nil {
		t.Error("a file that is not there holds a token")
	}
}
