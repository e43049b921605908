package revocation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// The files of the journal, in the gateway's directory.
const (
	journalName = "revocations.journal"
	lockName    = "revocations.lock"
	spareName   = "revocations.journal.new"
)

const (
	// lockPoll is how often a lock is tried that another process holds.
	lockPoll = 5 * time.Millisecond
	// slack is how many lines may be more than needed before the journal is written anew.
	slack = 1024
)

// journal is the durable store of a gateway that has no other: a file to which
// lines are appended. Processes that share a directory, such as one that takes over
// from another, may share it: they lock each other out of writing.
//
// A line is a key, its NotBefore, its Expires and the CRC-32 of these. A line that
// was cut short by a crash, or is damaged, is left out, and costs nothing else.
type journal struct {
	directory string
	log       zerolog.Logger
	mu        sync.Mutex // one writer in this process; the lock is for others
}

var _ Durable = (*journal)(nil)

func newJournal(directory string, log zerolog.Logger) *journal {
	return &journal{directory: directory, log: log}
}

func (j *journal) path(name string) string { return filepath.Join(j.directory, name) }

// Watch waits: what other processes write is found by the poll.
func (j *journal) Watch(ctx context.Context, _ func()) { <-ctx.Done() }

// Save appends entries and returns when they are on the disk.
func (j *journal) Save(ctx context.Context, entries []Entry) error {
	return j.locked(ctx, func() error {
		_, err := os.Stat(j.path(journalName))
		isNew := errors.Is(err, os.ErrNotExist)
		f, err := os.OpenFile(j.path(journalName), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("opening the journal of revocations: %w", err)
		}
		err = j.append(f, entries)
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err == nil && isNew {
			err = j.syncDirectory()
		}
		if err != nil {
			return fmt.Errorf("writing the journal of revocations: %w", err)
		}
		return nil
	})
}

// append writes lines behind the last whole one. One that was cut short is ended
// first, so that it spoils none but itself.
func (j *journal) append(f *os.File, entries []Entry) error {
	var lines []byte
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if size := info.Size(); size > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			lines = append(lines, '\n')
		}
	}
	for _, e := range entries {
		lines = appendLine(lines, e)
	}
	if _, err := f.Write(lines); err != nil {
		return err
	}
	return f.Sync()
}

// Since reads the lines behind the cursor, which is the file's inode and an offset.
// A file that is another one is read whole.
func (j *journal) Since(_ context.Context, cursor string) (entries []Entry, next string, err error) {
	f, err := os.Open(j.path(journalName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, "", err
	}
	inode := strconv.FormatUint(info.Sys().(*syscall.Stat_t).Ino, 10)
	offset := int64(0)
	if file, at, ok := strings.Cut(cursor, ":"); ok && file == inode {
		if offset, err = strconv.ParseInt(at, 10, 64); err != nil || offset > info.Size() {
			offset = 0
		}
	}
	content, err := io.ReadAll(io.NewSectionReader(f, offset, info.Size()-offset))
	if err != nil {
		return nil, "", err
	}
	content = content[:bytes.LastIndexByte(content, '\n')+1] // the rest may still be written
	entries, _ = j.parse(content)
	return entries, fmt.Sprintf("%s:%d", inode, offset+int64(len(content))), nil
}

// parse reads whole lines, and counts those that are damaged.
func (j *journal) parse(content []byte) (entries []Entry, damaged int) {
	for line := range bytes.Lines(content) {
		e, ok := parseLine(bytes.TrimSuffix(line, []byte("\n")))
		if ok {
			entries = append(entries, e)
		} else {
			damaged++
		}
	}
	if damaged > 0 {
		j.log.Warn().Int("lines", damaged).Str("file", j.path(journalName)).Msg("lines of the journal of revocations are damaged, as by a crash amid a write; the others hold")
	}
	return entries, damaged
}

// Purge writes the journal anew if most of it, or a damaged line, is of no more use.
func (j *journal) Purge(ctx context.Context, before int64) error {
	return j.locked(ctx, func() error {
		content, err := os.ReadFile(j.path(journalName))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the journal of revocations: %w", err)
		}
		entries, damaged := j.parse(content[:bytes.LastIndexByte(content, '\n')+1])
		kept, n := map[string][]Entry{}, 0
		for _, e := range entries {
			if e.Expires >= before {
				n -= len(kept[e.Key])
				kept[e.Key] = condense(kept[e.Key], e)
				n += len(kept[e.Key])
			}
		}
		if damaged == 0 && len(entries) < 2*n+slack {
			return nil
		}
		if err := j.replace(kept); err != nil {
			return fmt.Errorf("writing the journal of revocations anew: %w", err)
		}
		return nil
	})
}

// condense adds e to the entries of its key, and leaves out what another one says
// too. They are not merged: one may expire before the other was made.
func condense(of []Entry, e Entry) []Entry {
	if slices.ContainsFunc(of, func(o Entry) bool { return o.Merge(e) == o }) {
		return of
	}
	return append(slices.DeleteFunc(of, func(o Entry) bool { return e.Merge(o) == e }), e)
}

// replace puts a file with these entries in the journal's place, whole or not at all.
func (j *journal) replace(kept map[string][]Entry) error {
	var lines []byte
	for _, of := range kept {
		for _, e := range of {
			lines = appendLine(lines, e)
		}
	}
	f, err := os.OpenFile(j.path(spareName), os.O_WRONLY|os.O_TRUNC|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(lines)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(j.path(spareName), j.path(journalName))
	}
	if err != nil {
		return err
	}
	return j.syncDirectory()
}

// syncDirectory makes a file's name survive a crash.
func (j *journal) syncDirectory() error {
	d, err := os.Open(j.directory)
	if err != nil {
		return err
	}
	err = d.Sync()
	_ = d.Close() // it was only read
	return err
}

// locked runs f while nobody else writes.
func (j *journal) locked(ctx context.Context, f func() error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := os.MkdirAll(j.directory, 0o700); err != nil {
		return fmt.Errorf("making the directory of the journal: %w", err)
	}
	lock, err := os.OpenFile(j.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the lock of the journal: %w", err)
	}
	defer func() { _ = lock.Close() }() // which unlocks it
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f()
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("locking the journal: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another process holds the lock of the journal: %w", ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// appendLine appends an entry as a line of the journal.
func appendLine(dst []byte, e Entry) []byte {
	start := len(dst)
	dst = append(append(dst, e.Key...), ' ')
	dst = append(strconv.AppendInt(dst, e.NotBefore, 10), ' ')
	dst = strconv.AppendInt(dst, e.Expires, 10)
	return fmt.Appendf(dst, " %08x\n", crc32.ChecksumIEEE(dst[start:]))
}

// parseLine reads a line without its end.
func parseLine(line []byte) (e Entry, ok bool) {
	at := bytes.LastIndexByte(line, ' ')
	if at < 0 {
		return Entry{}, false
	}
	sum, err := strconv.ParseUint(string(line[at+1:]), 16, 32)
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(line[:at]) {
		return Entry{}, false
	}
	fields := strings.Split(string(line[:at]), " ")
	if len(fields) != 3 {
		return Entry{}, false
	}
	e.Key = fields[0]
	if e.NotBefore, err = strconv.ParseInt(fields[1], 10, 64); err != nil {
		return Entry{}, false
	}
	if e.Expires, err = strconv.ParseInt(fields[2], 10, 64); err != nil {
		return Entry{}, false
	}
	return e, e.Check() == nil
}
