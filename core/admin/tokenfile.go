package admin

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/suuupra/gateway/core/setting"
)

// tokenFile is where the gateway keeps the token that it makes itself, in
// `directory`.
const tokenFile = "admin.token"

// ownTokenName is what the audit log calls whoever uses that token.
const ownTokenName = "generated"

// largestTokenFile bounds what is read of a token file.
const largestTokenFile = 4096

// TokenPath is where the token stands that OwnToken keeps in directory.
func TokenPath(directory string) string { return filepath.Join(directory, tokenFile) }

// OwnToken returns the token that the gateway keeps for itself in directory,
// made now if there is none: for installations that name no token. The file is
// the owner's alone, and stands there whole or not at all; processes that start
// at once agree on one token.
func OwnToken(directory string) (Token, error) {
	if err := ownDirectory(directory); err != nil {
		return Token{}, fmt.Errorf("keeping an admin token: %w", err)
	}
	secret, err := readToken(TokenPath(directory), private)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeToken(directory); err == nil {
			secret, err = readToken(TokenPath(directory), private)
		}
	}
	if err != nil {
		return Token{}, fmt.Errorf("keeping an admin token: %w", err)
	}
	return NewToken(ownTokenName, true, secret), nil
}

// ownDirectory makes directory for the owner alone, or wants it to be so
// (SECURITY C11): whoever can write there could plant a token.
func ownDirectory(directory string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(directory)
	if err != nil {
		return err
	}
	return private(directory, info)
}

// private wants what stands at path to be this user's, or root's, and open to
// nobody else.
func private(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s is open to other users (mode %04o): chmod go= it", path, mode)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user (uid %d)", path, stat.Uid)
	}
	return nil
}

// makeToken writes a new token, unless there is one by then. The link fails
// where a rename would take the place of another process's token.
func makeToken(directory string) (err error) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails; it ends the process instead
	f, err := os.CreateTemp(directory, tokenFile+".*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(base64.RawURLEncoding.EncodeToString(secret) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), TokenPath(directory)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// ReadTokenFile reads the token in a file, for those who present it. One final
// line break is dropped.
func ReadTokenFile(path string) (setting.Secret, error) {
	return readToken(path, func(string, fs.FileInfo) error { return nil })
}

// readToken reads the token in a file that accept takes.
func readToken(path string, accept func(string, fs.FileInfo) error) (setting.Secret, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not make it wait
	if err != nil {
		return setting.Secret{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return setting.Secret{}, err
	}
	if !info.Mode().IsRegular() {
		return setting.Secret{}, fmt.Errorf("%s is no file", path)
	}
	if err := accept(path, info); err != nil {
		return setting.Secret{}, err
	}
	text, err := io.ReadAll(io.LimitReader(f, largestTokenFile))
	if err != nil {
		return setting.Secret{}, fmt.Errorf("reading %s: %w", path, err)
	}
	token := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if len(token) < 32 || strings.ContainsAny(token, " \t\r\n") {
		return setting.Secret{}, fmt.Errorf("%s holds no token", path)
	}
	return setting.NewSecret(token), nil
}
