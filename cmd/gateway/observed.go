package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// observed is what a load has looked at: each file as it was just before it was
// read, and the names that each pattern fitted. What changes after that look is
// seen by the next one. A load fills it in, and it is not changed any more.
type observed struct {
	files map[string]string // path → mark
	globs map[string]string // pattern → the names that it fits
}

func newObserved() *observed {
	return &observed{files: map[string]string{}, globs: map[string]string{}}
}

// readFile reads a file, and remembers it.
func (o *observed) readFile(name string) ([]byte, error) {
	if _, again := o.files[name]; !again {
		o.files[name] = mark(name)
	}
	return os.ReadFile(name)
}

// glob lists files, and remembers them.
func (o *observed) glob(pattern string) ([]string, error) {
	names, err := filepath.Glob(pattern)
	if _, again := o.globs[pattern]; !again {
		o.globs[pattern] = strings.Join(names, "\x00")
	}
	return names, err
}

// sources are the files that could be looked at, sorted.
func (o *observed) sources() []string {
	out := []string{}
	for name, m := range o.files {
		if m != absent {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// absent is the mark of a file that is not there, or can't be looked at.
const absent = ""

// mark tells a file from what stands at its path later. Links are followed: a
// Kubernetes volume swaps a link above the file. An editor that renames a new
// file into place changes the inode, one that writes in place the time.
func mark(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return absent
	}
	var inode, device uint64
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		inode, device = stat.Ino, uint64(stat.Dev)
	}
	return fmt.Sprint(device, inode, info.Size(), info.ModTime().UnixNano(), info.Mode()&(fs.ModeType|fs.ModePerm))
}

// now is what is there at this moment, as one text; changed says that it is not
// what the load saw.
func (o *observed) now() (present string, changed bool) {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(o.files)) {
		m := mark(name)
		changed = changed || m != o.files[name]
		b.WriteString(m + "\n")
	}
	for _, pattern := range slices.Sorted(maps.Keys(o.globs)) {
		names, _ := filepath.Glob(pattern) // a bad pattern was reported by the load, and fits nothing
		fits := strings.Join(names, "\x00")
		changed = changed || fits != o.globs[pattern]
		b.WriteString(fits + "\n")
	}
	return b.String(), changed
}
