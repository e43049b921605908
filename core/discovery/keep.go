package discovery

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/suuupra/gateway/core/upstream"
)

// largestFile is more than a file with mostEndpoints has, in bytes.
const largestFile = 4 << 20

// kept is what one watch believes, as it stands in a file.
type kept struct {
	Version   int            `json:"version"`
	Of        string         `json:"of"` // the watch, for people and against a file of another name
	Since     time.Time      `json:"since"`
	Endpoints []keptEndpoint `json:"endpoints"`
}

type keptEndpoint struct {
	Address string `json:"address"`
	Host    string `json:"host"`
	Weight  int    `json:"weight"`
}

// shelf is the folder of those files.
type shelf struct {
	folder string // "": nothing is kept
	barred func(netip.AddrPort) bool
}

// file is where the endpoints of d stand. The name says nothing to people, for a
// service may be called anything.
func (s *shelf) file(d upstream.Discovery) string {
	sum := sha256.Sum256([]byte(describe(d)))
	return filepath.Join(s.folder, hex.EncodeToString(sum[:16])+".json")
}

// put keeps the endpoints of d: a crash leaves the old file or the new one.
func (s *shelf) put(d upstream.Discovery, endpoints []upstream.EndpointSpec, since time.Time) (err error) {
	if s.folder == "" {
		return nil
	}
	doc := kept{Version: 1, Of: describe(d), Since: since.UTC(), Endpoints: make([]keptEndpoint, len(endpoints))}
	for i, e := range endpoints {
		doc.Endpoints[i] = keptEndpoint{e.Address, e.HostHeader, e.Weight}
	}
	text, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return fmt.Errorf("writing down endpoints: %w", err)
	}
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return fmt.Errorf("making the folder of known endpoints: %w", err)
	}
	file, err := os.CreateTemp(s.folder, ".new-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("making a file for known endpoints: %w", err)
	}
	_, err = file.Write(append(text, '\n'))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), s.file(d))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keeping known endpoints: %w", err), os.Remove(file.Name()))
	}
	return nil
}

// take returns what is kept of d; nothing if there is none. Whatever stands in the file
// is as suspicious as an answer: who can write there could else send requests anywhere.
func (s *shelf) take(d upstream.Discovery) ([]upstream.EndpointSpec, time.Time, error) {
	if s.folder == "" {
		return nil, time.Time{}, nil
	}
	doc, err := s.read(d)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", s.file(d), err)
	}
	found := make([]upstream.EndpointSpec, len(doc.Endpoints))
	for i, e := range doc.Endpoints {
		found[i] = upstream.EndpointSpec{Address: e.Address, HostHeader: e.Host, Weight: e.Weight}
	}
	endpoints, refused := clean(found, s.barred)
	if refused != "" {
		return nil, time.Time{}, fmt.Errorf("%s: %s", s.file(d), refused)
	}
	return endpoints, doc.Since, nil
}

// read reads the file of d.
func (s *shelf) read(d upstream.Discovery) (*kept, error) {
	file, err := os.OpenFile(s.file(d), os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not make the start wait
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no file")
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("others may write to it: its mode is %v, want 0600", info.Mode().Perm())
	case info.Size() > largestFile:
		return nil, fmt.Errorf("it has %d bytes", info.Size())
	}
	text, err := io.ReadAll(io.LimitReader(file, largestFile))
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var doc kept
	if err := decoder.Decode(&doc); err != nil {
		return nil, fmt.Errorf("it can't be read: %w", err)
	}
	switch _, err := decoder.Token(); {
	case !errors.Is(err, io.EOF):
		return nil, errors.New("something stands behind its end")
	case doc.Version != 1 || doc.Of != describe(d):
		return nil, fmt.Errorf("it holds %.300q in version %d", doc.Of, doc.Version)
	case len(doc.Endpoints) == 0:
		return nil, errors.New("it holds no endpoint")
	}
	return &doc, nil
}

// describe says what d asks for, for people.
func describe(d upstream.Discovery) string {
	switch {
	case d.Tag != "":
		return fmt.Sprintf("%s %s with tag %s", d.Source, d.Name, d.Tag)
	case d.Port != 0:
		return fmt.Sprintf("%s %s port %d", d.Source, d.Name, d.Port)
	default:
		return d.Source + " " + d.Name
	}
}
