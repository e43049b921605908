package accesslog

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// output is where lines go.
type output interface {
	Write(p []byte) (int, error)
	// Tend is called about once a second, to follow a file that was renamed.
	Tend() error
	Close() error
}

// identify returns what two spellings of one place have in common.
func identify(to string) (string, error) {
	if to == "stdout" || to == "stderr" {
		return to, nil
	}
	path, err := filepath.Abs(to)
	if err != nil {
		return "", fmt.Errorf("finding the access log %s: %w", to, err)
	}
	return path, nil
}

// probe tells what can be told of a place without touching it, so that a wrong
// path is refused before it is put in force.
func probe(place string) error {
	if place == "stdout" || place == "stderr" {
		return nil
	}
	if err := appendable(place); err != nil {
		return err
	}
	folder := filepath.Dir(place)
	if info, err := os.Stat(folder); err != nil {
		return fmt.Errorf("the folder of the access log: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("the folder of the access log: %s is a file", folder)
	}
	return nil
}

// appendable refuses what can't be appended to. Opening a pipe would wait until
// somebody reads it.
func appendable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil // there is nothing yet, or opening it will tell why
	}
	if info.IsDir() || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0 {
		return fmt.Errorf("the access log %s is a folder, pipe or socket; want a file", path)
	}
	return nil
}

// openOutput opens stdout, stderr or the file at an absolute path.
func openOutput(to string) (output, error) {
	switch to {
	case "stdout":
		return duplicate(os.Stdout)
	case "stderr":
		return duplicate(os.Stderr)
	default:
		return openFile(to)
	}
}

// stream is a duplicate of a standard stream.
type stream struct{ *os.File }

// duplicate gives f a descriptor of its own: the runtime ends the process when
// a write to descriptor 1 or 2 meets a closed pipe, and on any other it returns
// an error. It also lets Close leave the standard stream alone.
func duplicate(f *os.File) (output, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("using %s: %w", f.Name(), err)
	}
	var copied int
	var dupErr error
	if err = raw.Control(func(fd uintptr) { copied, dupErr = syscall.Dup(int(fd)) }); err == nil {
		err = dupErr
	}
	if err != nil {
		return nil, fmt.Errorf("duplicating %s: %w", f.Name(), err)
	}
	syscall.CloseOnExec(copied)
	return stream{os.NewFile(uintptr(copied), f.Name())}, nil
}

// Tend does nothing: a stream is never renamed.
func (stream) Tend() error { return nil }

// file appends to the file at a path, wherever that leads.
type file struct {
	path string
	open *os.File // never nil
}

// filePermissions let a group read the log, and nobody else.
const filePermissions = 0o640

func openFile(path string) (*file, error) {
	f, err := openAppend(path)
	if err != nil {
		return nil, err
	}
	return &file{path: path, open: f}, nil
}

// openAppend opens the file for appending: several processes may share it, and
// one that was cut to nothing (copytruncate) is written from its beginning.
func openAppend(path string) (*os.File, error) {
	if err := appendable(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, filePermissions)
	if err != nil {
		return nil, fmt.Errorf("opening the access log: %w", err)
	}
	return f, nil
}

// Write appends p.
func (f *file) Write(p []byte) (int, error) { return f.open.Write(p) }

// Tend opens the path again if it leads to another file now, or to none. As
// long as that fails, lines go to the old one.
func (f *file) Tend() error {
	ours, err := f.open.Stat()
	if err != nil {
		return fmt.Errorf("looking at the access log: %w", err)
	}
	if now, err := os.Stat(f.path); err == nil && os.SameFile(ours, now) {
		return nil
	}
	next, err := openAppend(f.path)
	if err != nil {
		return err
	}
	old := f.open
	f.open = next
	if err := old.Close(); err != nil {
		return fmt.Errorf("closing the renamed access log: %w", err)
	}
	return nil
}

// Close closes the file.
func (f *file) Close() error { return f.open.Close() }

var (
	_ output = stream{}
	_ output = (*file)(nil)
)
