package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/suuupra/gateway/core/setting"
)

// checkFiles looks at who may change the configuration.
func checkFiles(_ context.Context, e *examination) []diagnosis {
	const name = "files"
	var found []diagnosis
	sources := e.seen.sources()
	for _, file := range sources {
		if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o002 != 0 {
			found = append(found, diagnosis{stateFail, name, fmt.Sprintf("everybody on this machine may write to %s (mode %04o)", file, info.Mode().Perm()), "chmod o-w it"})
		}
	}
	if found == nil {
		found = []diagnosis{{stateOK, name, counted(len(sources), "file") + " read, none open to be changed by everybody", ""}}
	}
	return found
}

// checkSecrets looks at who may read the files of secrets.
func checkSecrets(_ context.Context, e *examination) []diagnosis {
	const name = "secrets"
	files := secretFiles(reflect.ValueOf(e.config))
	var found []diagnosis
	for _, file := range files {
		info, err := os.Stat(file)
		switch {
		case err != nil:
			found = append(found, diagnosis{stateFail, name, fmt.Sprintf("%s was read and is gone: %v", file, err), "put it back"})
		case info.Mode().Perm()&0o007 != 0:
			found = append(found, diagnosis{stateFail, name, fmt.Sprintf("every user of this machine can get at %s (mode %04o)", file, info.Mode().Perm()), "chmod o= it, or 600"})
		}
	}
	if found == nil {
		found = []diagnosis{{stateOK, name, counted(len(files), "file") + " of secrets, closed to other users", ""}}
	}
	return found
}

// secretFiles are the files that the secrets in v were read from, sorted.
func secretFiles(v reflect.Value) []string {
	files := map[string]struct{}{}
	collectSecrets(v, files)
	var out []string
	for name := range files {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// collectSecrets walks what a configuration is made of. It leaves out the tree that
// it was decoded from, which leads round and round.
func collectSecrets(v reflect.Value, into map[string]struct{}) {
	if s, is := reflect.TypeAssert[setting.Secret](v); is {
		if s.File() != "" {
			into[s.File()] = struct{}{}
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && v.Type() != reflect.TypeFor[*setting.Node]() && v.Type().Elem().Kind() == reflect.Struct {
			collectSecrets(v.Elem(), into)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				collectSecrets(v.Field(i), into)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			collectSecrets(v.Index(i), into)
		}
	default: // nothing else holds any
	}
}

// checkDirectory looks at the folder of the gateway's own files.
func checkDirectory(_ context.Context, e *examination) []diagnosis {
	const name = "directory"
	one := func(state, text, do string) []diagnosis { return []diagnosis{{state, name, text, do}} }
	dir := e.config.Directory
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if above := existing(dir); unix.Access(above, unix.W_OK|unix.X_OK) != nil {
			return one(stateFail, fmt.Sprintf("%s is not there, and %s is closed to this user", dir, above), "make it (install -d -m 700 -o USER "+dir+"), or set `directory` to a folder that the gateway can write to")
		}
		return one(stateOK, dir+" will be made by the first start", "")
	case err != nil:
		return one(stateFail, err.Error(), "let the gateway's user get at it")
	case !info.IsDir():
		return one(stateFail, dir+" is no folder", "set `directory` to one")
	case info.Mode().Perm()&0o077 != 0:
		return one(stateFail, fmt.Sprintf("%s is open to other users (mode %04o)", dir, info.Mode().Perm()), "chmod 700 it")
	case unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK) != nil:
		return one(stateFail, dir+" is closed to this user", "run doctor as the gateway's user, or chown it")
	}
	return one(stateOK, dir+" can be written to, and is closed to others", "")
}

// existing is the nearest folder above path that is there.
func existing(path string) string {
	for path = filepath.Clean(path); ; path = filepath.Dir(path) {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
	}
}
