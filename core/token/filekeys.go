package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// FileKeys is a KeyStore in a file of this machine, for one without PostgreSQL:
// signing keys must survive a restart, or everybody is logged out by it. Processes
// of the machine that share the file take turns by a lock beside it.
type FileKeys struct{ path string }

var _ KeyStore = (*FileKeys)(nil)

// The names in the directory that NewFileKeys is given.
const (
	keysFile     = "signing-keys.json"
	keysLock     = "signing-keys.lock"
	largestKeys  = 1 << 20
	lockPatience = 10 * time.Millisecond // between two tries to get the lock
)

// NewFileKeys keeps keys in directory, which must exist when they are first written.
func NewFileKeys(directory string) *FileKeys {
	return &FileKeys{path: filepath.Join(directory, keysFile)}
}

// fileDocument is what the file holds.
type fileDocument struct {
	Version int       `json:"version"`
	Keys    []fileKey `json:"keys"`
}

// fileKey is a StoredKey in JSON; times are unix seconds.
type fileKey struct {
	ID          string  `json:"kid"`
	Purpose     Purpose `json:"purpose"`
	Sealed      []byte  `json:"sealed"`
	Created     int64   `json:"created"`
	Signs       int64   `json:"signs"`
	LifeSeconds int64   `json:"life_seconds"`
}

// Load returns all keys; none if there is no file.
func (f *FileKeys) Load(ctx context.Context) ([]StoredKey, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0) // a pipe must not make it wait
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	if err := private(file); err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(file, largestKeys))
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	var doc fileDocument
	if err := json.Unmarshal(text, &doc); err != nil || doc.Version != 1 { // the cause could quote a key
		return nil, fmt.Errorf("reading the signing keys: %s is not written by this gateway, or was cut off", f.path)
	}
	keys := make([]StoredKey, len(doc.Keys))
	for i, k := range doc.Keys {
		keys[i] = StoredKey{
			ID: k.ID, Purpose: k.Purpose, Sealed: k.Sealed, Life: time.Duration(k.LifeSeconds) * time.Second,
			Created: time.Unix(k.Created, 0).UTC(), Signs: time.Unix(k.Signs, 0).UTC(),
		}
	}
	return keys, nil
}

// private wants a file of nobody but this user, or root.
func private(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file", file.Name())
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is open to other users (mode %04o): chmod go= it", file.Name(), info.Mode().Perm())
	case ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user (uid %d)", file.Name(), stat.Uid)
	}
	return nil
}

// Update replaces the keys by what change makes of them.
func (f *FileKeys) Update(ctx context.Context, change func([]StoredKey) ([]StoredKey, error)) error {
	lock, err := f.lock(ctx)
	if err != nil {
		return fmt.Errorf("locking the signing keys: %w", err)
	}
	defer func() { _ = lock.Close() }() // which gives the lock back
	keys, err := f.Load(ctx)
	if err != nil {
		return err
	}
	if keys, err = change(keys); err != nil {
		return err
	}
	if err := f.write(keys); err != nil {
		return fmt.Errorf("writing the signing keys: %w", err)
	}
	return nil
}

// lock waits for the lock until ctx is done. The file of the lock stays: whoever
// removes it takes it from somebody who has just opened it.
func (f *FileKeys) lock(ctx context.Context) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(filepath.Dir(f.path), keysLock), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := ctx.Err()
		if err == nil {
			err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		}
		switch {
		case err == nil:
			return file, nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, errors.Join(err, file.Close())
		}
		select {
		case <-ctx.Done():
		case <-time.After(lockPatience):
		}
	}
}

// write replaces the file whole: a crash leaves the one or the other.
func (f *FileKeys) write(keys []StoredKey) (err error) {
	doc := fileDocument{Version: 1, Keys: make([]fileKey, len(keys))}
	for i, k := range keys {
		doc.Keys[i] = fileKey{k.ID, k.Purpose, k.Sealed, k.Created.Unix(), k.Signs.Unix(), int64(k.Life / time.Second)}
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	directory := filepath.Dir(f.path)
	file, err := os.CreateTemp(directory, keysFile+".*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncDirectory(directory)
}

// syncDirectory makes a rename last.
func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
