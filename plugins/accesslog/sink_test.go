package accesslog

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/plugin/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is an output that can fail and hang.
type memory struct {
	mu     sync.Mutex
	text   strings.Builder
	fail   error // of the next writes
	take   int   // bytes that a failing write takes
	hang   chan struct{}
	closed bool
}

func (m *memory) Write(p []byte) (int, error) {
	if m.hang != nil {
		<-m.hang
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		n := min(m.take, len(p))
		m.text.Write(p[:n])
		return n, m.fail
	}
	return m.text.Write(p)
}

func (m *memory) Tend() error { return nil }

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memory) set(fail error, take int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail, m.take = fail, take
}

func (m *memory) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

var _ output = (*memory)(nil)

// start of every fake clock.
var epoch = time.Date(2025, time.March, 4, 5, 6, 7, 89_000, time.UTC)

// bench is a sink with all that a test looks at.
type bench struct {
	*sink
	clock *clock.Fake
	deps  *plugin.Deps
	log   *memory // of the program
}

// newBench returns a sink that open opens, closed when the test ends.
func newBench(t testing.TB, open func() (output, error)) *bench {
	t.Helper()
	b := &bench{clock: clock.NewFake(epoch), deps: plugintest.Deps(t), log: &memory{}}
	b.deps.Clock, b.deps.Log = b.clock, zerolog.New(b.log)
	b.sink = newSink("test", open, b.deps)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func opens(o output) func() (output, error) {
	return func() (output, error) { return o, nil }
}

// line logs one line of text.
func (b *bench) line(text string) {
	if buffer := b.begin(0, len(text)+1); buffer != nil {
		buffer.bytes = append(append(buffer.bytes, text...), '\n')
		buffer.lines++
		b.end(buffer)
	}
}

// eventually advances the clock until ok, for at most ten seconds.
func (b *bench) eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
		if b.clock.Armed() > 0 {
			b.clock.Advance(flushEvery)
		}
	}
	t.Fatalf("never seen: %s", what)
}

// metric returns the value of a counter.
func (b *bench) metric(t testing.TB, name string) string {
	t.Helper()
	built := &plugintest.Built{Deps: b.deps}
	for _, line := range strings.Split(built.Metrics(), "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return value
		}
	}
	return ""
}

const (
	written = `gateway_access_log_lines_total{to="test"}`
	full    = `gateway_access_log_dropped_total{to="test",reason="full"}`
	failed  = `gateway_access_log_dropped_total{to="test",reason="failed"}`
)

func TestLinesAreWritten(t *testing.T) {
	t.Parallel()
	out := &memory{}
	b := newBench(t, opens(out))
	b.line("one")
	b.line("two")
	b.eventually(t, "two lines", func() bool { return out.String() == "one\ntwo\n" })
	if got := b.metric(t, written); got != "2" {
		t.Errorf("counted %q lines", got)
	}
}

func TestCloseWritesWhatIsLeft(t *testing.T) {
	t.Parallel()
	out := &memory{}
	deps := plugintest.Deps(t)
	s := newSink("test", opens(out), deps)
	buffer := s.begin(3, 10)
	buffer.bytes, buffer.lines = append(buffer.bytes, "last\n"...), 1
	s.end(buffer)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out.String() != "last\n" || !out.closed {
		t.Errorf("got %q, closed %v", out.String(), out.closed)
	}
}

func TestUnusedSinkLeavesNoTrace(t *testing.T) {
	t.Parallel()
	s := newSink("test", func() (output, error) { return nil, errors.New("opened") }, plugintest.Deps(t))
	if err := s.Close(); err != nil || s.buffers != nil {
		t.Errorf("got %v", err)
	}
}

// SPEC PL1: slow or full log sinks never stall requests.
func TestHangingOutputDropsAndCounts(t *testing.T) {
	t.Parallel()
	out := &memory{hang: make(chan struct{})}
	b := newBench(t, opens(out))
	line := strings.Repeat("x", 1023)
	b.line(line)
	// All buffers fill up, while one more hangs in the output.
	for range (len(b.buffers) + 2) * bufferSize / 1024 {
		b.line(line)
	}
	close(out.hang)
	if n, err := strconv.Atoi(b.metric(t, full)); err != nil || n < bufferSize/1024 || n > 2*bufferSize/1024+1 {
		t.Errorf("dropped %d lines, want as many as one or two buffers hold", n)
	}
}

// A full buffer is written before its time: no clock is needed.
func TestFillingBufferIsWrittenAtOnce(t *testing.T) {
	t.Parallel()
	out := &memory{}
	b := newBench(t, opens(out))
	for range flushAt/1024 + 1 {
		b.line(strings.Repeat("x", 1023))
	}
	for deadline := time.Now().Add(10 * time.Second); out.String() == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was written though no time passes")
		}
	}
}

func TestFailingOutput(t *testing.T) {
	t.Parallel()
	out := &memory{}
	out.set(errors.New("no space left"), 6)
	b := newBench(t, opens(out))
	b.line("one")
	b.line("two")
	b.line("three")
	b.eventually(t, "lost lines", func() bool { return b.metric(t, failed) == "2" })
	b.line("four")
	b.eventually(t, "one more", func() bool { return b.metric(t, failed) == "3" })
	out.set(nil, 0)
	b.line("five")
	b.eventually(t, "the line after", func() bool { return out.String() == "one\ntw\nfive\n" })
	if got := b.metric(t, written); got != "2" {
		t.Errorf("counted %q lines", got)
	}
	log := b.log.String()
	if strings.Count(log, "writing the access log failed") != 1 || strings.Count(log, "written again") != 1 {
		t.Errorf("logged\n%s", log)
	}
}

func TestOutputThatCanNotBeOpened(t *testing.T) {
	t.Parallel()
	out := &memory{}
	var mu sync.Mutex
	var fail error = errors.New("no such folder")
	b := newBench(t, func() (output, error) {
		mu.Lock()
		defer mu.Unlock()
		if fail != nil {
			return nil, fail
		}
		return out, nil
	})
	b.line("one")
	b.eventually(t, "a lost line", func() bool { return b.metric(t, failed) == "1" })
	b.eventually(t, "more tries", func() bool { return b.clock.Now().Sub(epoch) > 3*tendEvery })
	mu.Lock()
	fail = nil
	mu.Unlock()
	b.eventually(t, "an opened output", func() bool {
		b.line("two")
		return strings.HasPrefix(out.String(), "two\n")
	})
	if n := strings.Count(b.log.String(), "no such folder"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, b.log.String())
	}
}

func TestCloseDoesNotWaitForAHangingOutput(t *testing.T) {
	t.Parallel()
	out := &memory{hang: make(chan struct{})}
	fake := clock.NewFake(epoch)
	deps := plugintest.Deps(t)
	deps.Clock = fake
	s := newSink("test", opens(out), deps)
	buffer := s.begin(0, 10)
	buffer.bytes, buffer.lines = append(buffer.bytes, "stuck\n"...), 1
	s.end(buffer)
	result := make(chan error)
	go func() { result <- s.Close() }()
	for {
		select {
		case err := <-result:
			if !errors.Is(err, errStuck) {
				t.Errorf("got %v", err)
			}
			close(out.hang)
			<-s.done
			return
		case <-time.After(time.Millisecond):
			fake.Advance(flushEvery)
		}
	}
}

func TestRenamedFileIsOpenedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	b := newBench(t, func() (output, error) { return openOutput(path) })
	contains := func(path, want string) func() bool {
		return func() bool {
			text, err := os.ReadFile(path)
			return err == nil && string(text) == want
		}
	}
	b.line("one")
	b.eventually(t, "the first line", contains(path, "one\n"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "a new file", contains(path, ""))
	b.line("two")
	b.eventually(t, "the second line", contains(path, "two\n"))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	b.line("three")
	b.eventually(t, "the line after copytruncate", contains(path, "three\n"))
	if !contains(path+".1", "one\n")() {
		t.Error("the renamed file was written to")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != filePermissions {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
}

func TestFileThatCanNotBeFollowed(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "access.log")
	b := newBench(t, func() (output, error) { return openOutput(path) })
	b.line("one")
	b.eventually(t, "the first line", func() bool { return b.metric(t, written) == "1" })
	if err := os.Rename(folder, folder+".old"); err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "a report", func() bool { return strings.Contains(b.log.String(), "can't be opened at its path") })
	b.line("two")
	b.eventually(t, "the second line in the old file", func() bool {
		text, err := os.ReadFile(filepath.Join(folder+".old", "access.log"))
		return err == nil && string(text) == "one\ntwo\n"
	})
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "a new file", func() bool { _, err := os.Stat(path); return err == nil })
}

func TestTendOfAClosedFile(t *testing.T) {
	t.Parallel()
	f, err := openFile(filepath.Join(t.TempDir(), "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Tend(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := f.Tend(); err == nil {
		t.Error("a closed file can be tended")
	}
}

// A pipe without a reader would block whoever opens it.
func TestPipesAreRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := probe(path); err == nil {
		t.Error("probe accepts a pipe")
	}
	if _, err := openOutput(path); err == nil {
		t.Error("a pipe was opened")
	}
}

// failingClose is an output whose Close fails.
type failingClose struct{ discarding }

func (failingClose) Close() error { return errors.New("no space left") }

// discarding takes everything.
type discarding struct{}

func (discarding) Write(p []byte) (int, error) { return len(p), nil }
func (discarding) Tend() error                 { return nil }
func (discarding) Close() error                { return nil }

func TestCloseReturnsTheErrorOfTheOutput(t *testing.T) {
	t.Parallel()
	s := newSink("test", opens(failingClose{}), plugintest.Deps(t))
	s.end(s.begin(0, 1))
	if err := s.Close(); err == nil || err.Error() != "closing the access log: no space left" {
		t.Errorf("got %v", err)
	}
}

// The runtime would end the process at a closed stdout; a duplicate returns the error.
func TestStreamSurvivesAClosedReader(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := duplicate(writer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte("a")); err != nil {
		t.Error(err)
	}
	_ = reader.Close()
	if _, err := out.Write([]byte("b")); err == nil {
		t.Error("a write to nobody succeeds")
	}
	if err := errors.Join(out.Tend(), out.Close()); err != nil {
		t.Error(err)
	}
	if _, err := writer.Stat(); err != nil {
		t.Errorf("the stream itself was closed: %v", err)
	}
	_ = writer.Close()
	if _, err := duplicate(writer); err == nil {
		t.Error("a closed stream can be duplicated")
	}
}

func TestOpenOutput(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"stdout", "stderr"} {
		out, err := openOutput(place)
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stdout.Stat(); err != nil {
		t.Errorf("stdout was closed: %v", err)
	}
	if _, err := openOutput(t.TempDir()); err == nil {
		t.Error("a folder can be opened")
	}
	if _, err := openOutput(filepath.Join(t.TempDir(), "a", "b")); err == nil {
		t.Error("a file in no folder can be opened")
	}
}

func TestIdenticalPlacesShareASink(t *testing.T) {
	t.Parallel()
	d := plugintest.Deps(t)
	folder := t.TempDir()
	a, releaseA, errA := keepSink(folder+"/access.log", d)
	b, releaseB, errB := keepSink(folder+"/x/../access.log", d)
	c, releaseC, errC := keepSink("stderr", d)
	if err := errors.Join(errA, errB, errC); err != nil {
		t.Fatal(err)
	}
	if a != b || a == c || d.Keeper.Len() != 2 {
		t.Errorf("shared wrongly: %p %p %p", a, b, c)
	}
	releaseA()
	releaseB()
	releaseC()
}

func TestBuildRefusesPlaces(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	plain := filepath.Join(folder, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, to, want string }{
		{"a folder", folder, "is a folder, pipe or socket"},
		{"a folder that is not there", folder + "/a/b.log", "the folder of the access log: stat"},
		{"a file as folder", plain + "/b.log", plain + " is a file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := options{To: c.to, Sample: 1}
			if _, err := build(o, plugintest.Deps(t)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Lines of many goroutines come out whole, each once.
func TestConcurrentLines(t *testing.T) {
	t.Parallel()
	out := &memory{}
	deps := plugintest.Deps(t)
	s := newSink("test", opens(out), deps)
	l := newLogger(options{Sample: 1}, s)
	const goroutines, lines = 8, 100
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			x := plugintest.Exchange(t, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
			plugintest.End(x, time.Millisecond)
			for range lines {
				l.log(x)
			}
		})
	}
	group.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for _, line := range got {
		if !strings.HasPrefix(line, `{"time":"`) || !strings.HasSuffix(line, "}") {
			t.Fatalf("a torn line: %s", line)
		}
	}
	if len(got) != goroutines*lines {
		t.Errorf("%d lines, want %d", len(got), goroutines*lines)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
