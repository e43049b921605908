package discovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/discovery"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var shop = upstream.Discovery{Source: "test", Name: "shop"}

// source answers what the test puts in, one answer for each question, and then waits.
type source struct {
	answers chan func() (discovery.Answer, error)
	waits   chan time.Duration
}

func newSource() *source {
	return &source{make(chan func() (discovery.Answer, error), 100), make(chan time.Duration, 1000)}
}

func (s *source) Open(upstream.Discovery) discovery.Query { return s }

func (s *source) Next(ctx context.Context, wait time.Duration) (discovery.Answer, error) {
	select {
	case s.waits <- wait:
	default:
	}
	select {
	case answer := <-s.answers:
		return answer()
	case <-ctx.Done():
		return discovery.Answer{}, discovery.Fail(discovery.Unreachable, ctx.Err())
	}
}

func (s *source) says(a discovery.Answer) {
	s.answers <- func() (discovery.Answer, error) { return a, nil }
}

func (s *source) fails(kind discovery.Kind) {
	s.answers <- func() (discovery.Answer, error) {
		return discovery.Answer{}, discovery.Fail(kind, errors.New("no"))
	}
}

func at(addresses ...string) (out []upstream.EndpointSpec) {
	for _, a := range addresses {
		out = append(out, upstream.EndpointSpec{Address: a, Weight: 1})
	}
	return out
}

// told is what a service was told last.
type told struct {
	mu    sync.Mutex
	times int
	last  string
	err   error
}

func (h *told) apply(found []upstream.EndpointSpec) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.times++
	var out []string
	for _, e := range found {
		out = append(out, fmt.Sprintf("%s=%d", e.Address, e.Weight))
	}
	h.last = strings.Join(out, " ")
	return h.err
}

func (h *told) want(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last != want {
		t.Errorf("told %q, want %q", h.last, want)
	}
}

// bench is a finder with its surroundings.
type bench struct {
	*discovery.Finder
	source *source
	set    *meter.Set
	log    *bytes.Buffer
	dir    string
}

func newBench(t *testing.T, dir string) *bench {
	b := &bench{source: newSource(), set: meter.NewSet(time.Now), log: new(bytes.Buffer), dir: dir}
	b.Finder = discovery.New(discovery.Options{
		Sources: map[string]discovery.Source{"test": b.source}, Directory: dir, Clock: clock.Real(), Meter: b.set,
		Barred: func(to netip.AddrPort) bool { return to.Port() == 9901 }, Log: zerolog.New(zerolog.SyncWriter(b.log)),
	})
	return b
}

func (b *bench) metric(line string) bool {
	var text strings.Builder
	b.set.WritePrometheus(&text)
	return strings.Contains("\n"+text.String(), "\n"+line+"\n")
}

func TestListenersAreTold(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, dir)
		var one, two told
		stop := b.Watch(shop, one.apply)
		one.want(t, "")
		if !b.Healthy() {
			t.Error("ill at once")
		}
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.2:80", "10.0.0.1:80")})
		one.want(t, "10.0.0.1:80=1 10.0.0.2:80=1")
		stopTwo := b.Watch(shop, two.apply)
		two.want(t, "10.0.0.1:80=1 10.0.0.2:80=1") // the same watch: at once
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.1:80", "10.0.0.2:80")})
		time.Sleep(time.Second)
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.1:80")})
		time.Sleep(time.Second)
		one.want(t, "10.0.0.1:80=1")
		if one.times != 2 {
			t.Errorf("told %d times, want 2: the same answer in another order is no news", one.times)
		}
		stop()
		stop() // does nothing
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.9:80")})
		time.Sleep(time.Second)
		two.want(t, "10.0.0.9:80=1")
		one.want(t, "10.0.0.1:80=1")
		for _, line := range []string{
			`gateway_discovery_endpoints{source="test",name="test shop"} 1`, `gateway_discovery_changes_total{source="test",name="test shop"} 3`,
		} {
			if !b.metric(line) {
				t.Errorf("no metric %s", line)
			}
		}
		stopTwo()
		if b.metric(`gateway_discovery_endpoints{source="test",name="test shop"} 1`) {
			t.Error("a series outlives its watch")
		}
	})
}

// TestTroubleChangesNothing: no answer, an empty one, an unusable one, a panic.
func TestTroubleChangesNothing(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, dir)
		var h told
		defer b.Watch(shop, h.apply)()
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.1:80", "10.0.0.2:80")})
		h.want(t, "10.0.0.1:80=1 10.0.0.2:80=1")
		b.source.fails(discovery.Unreachable)
		b.source.fails(discovery.Overloaded)
		b.source.says(discovery.Answer{})
		b.source.says(discovery.Answer{Endpoints: at("127.0.0.1:9901", "169.254.169.254:80")})
		b.source.answers <- func() (discovery.Answer, error) { panic("a broken driver") }
		b.source.answers <- func() (discovery.Answer, error) { return discovery.Answer{}, errors.New("of no kind") }
		time.Sleep(time.Minute)
		h.want(t, "10.0.0.1:80=1 10.0.0.2:80=1")
		for _, kind := range []string{"unreachable", "overloaded", "empty", "refused", "nonsense", "broken"} {
			if line := `gateway_discovery_errors_total{source="test",kind="` + kind + `"} 1`; !b.metric(line) {
				t.Errorf("no metric %s", line)
			}
		}
		if b.Healthy() {
			t.Error("healthy after a minute of trouble")
		}
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.1:80", "10.0.0.2:80")})
		time.Sleep(time.Second)
		synctest.Wait()
		if !b.Healthy() {
			t.Error("ill after an answer")
		}
	})
}

// TestDoubt: what may know less than it did only adds, for ten seconds.
func TestDoubt(t *testing.T) {
	for name, doubt := range map[string]discovery.Answer{
		"begun anew": {Endpoints: at("10.0.0.3:80"), Doubtful: true},
		"empty":      {},
	} {
		dir := t.TempDir()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, dir)
				var h told
				defer b.Watch(shop, h.apply)()
				b.source.says(discovery.Answer{Endpoints: at("10.0.0.1:80", "10.0.0.2:80")})
				h.want(t, "10.0.0.1:80=1 10.0.0.2:80=1")
				b.source.says(doubt)
				b.source.says(discovery.Answer{Endpoints: at("10.0.0.3:80")})
				time.Sleep(2 * time.Second)
				h.want(t, "10.0.0.1:80=1 10.0.0.2:80=1 10.0.0.3:80=1")
				var last time.Duration
				for len(b.source.waits) > 0 {
					last = <-b.source.waits
				}
				if last > 10*time.Second {
					t.Errorf("waits %v for a change while in doubt", last)
				}
				time.Sleep(9 * time.Second)
				b.source.says(discovery.Answer{Endpoints: at("10.0.0.3:80")})
				time.Sleep(time.Second)
				h.want(t, "10.0.0.3:80=1")
			})
		})
	}
}

// TestBackoff: failures are asked again ever more rarely, and an answer ends that.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "")
		var h told
		defer b.Watch(shop, h.apply)()
		for range 100 {
			b.source.fails(discovery.Overloaded)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := 100 - len(b.source.answers); n < 6 || n > 16 {
			t.Errorf("asked %d times in a minute", n)
		}
		for len(b.source.answers) > 0 {
			<-b.source.answers
		}
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.1:80")})
		time.Sleep(16 * time.Second)
		h.want(t, "10.0.0.1:80=1")
		b.source.fails(discovery.Broken)
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.2:80")})
		time.Sleep(time.Second)
		h.want(t, "10.0.0.2:80=1")
	})
}

func TestWhatMayBeCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "")
		var h told
		defer b.Watch(shop, h.apply)()
		in := at("[::ffff:10.0.0.1]:80", "10.0.0.1:80", "[fd00::1]:80", "Name.Internal.:80",
			":80", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:-1", "0.0.0.0:80", "[::]:80", "224.0.0.1:80", "255.255.255.255:80",
			"169.254.169.254:80", "[fe80::1]:80", "[fd00::1%eth0]:80", "127.0.0.1:9901", "[::ffff:127.0.0.1]:9901", "a b:80", "a/b:80", "10.0.0:80", "a@b:80", "a:b:80", "")
		in = append(in, upstream.EndpointSpec{Address: "10.0.0.4:80", HostHeader: "a\r\nX: y", Weight: 1})
		b.source.says(discovery.Answer{Endpoints: in})
		h.want(t, "10.0.0.1:80=1 [fd00::1]:80=1 name.internal:80=1")
		b.source.says(discovery.Answer{Endpoints: []upstream.EndpointSpec{
			{Address: "10.0.0.1:80", Weight: 65535}, {Address: "10.0.0.2:80", Weight: 32768}, {Address: "10.0.0.3:80"}, {Address: "10.0.0.4:80", Weight: -5},
			{Address: "10.0.0.2:80", Weight: 7},
		}})
		time.Sleep(time.Second)
		h.want(t, "10.0.0.1:80=1000 10.0.0.2:80=500 10.0.0.3:80=1 10.0.0.4:80=1")
		var many []upstream.EndpointSpec
		for i := range 5000 {
			many = append(many, at(fmt.Sprintf("10.1.%d.%d:80", i/250, i%250))...)
		}
		b.source.says(discovery.Answer{Endpoints: many})
		time.Sleep(time.Second)
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := strings.Count(h.last, " ") + 1; n != 4096 {
			t.Errorf("%d endpoints of 5000, want 4096", n)
		}
	})
}

// TestColdStart serves what is kept, if it is what was written.
func TestColdStart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, dir)
		var h told
		stop := b.Watch(shop, h.apply)
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.1:80", "10.0.0.2:80")})
		h.want(t, "10.0.0.1:80=1 10.0.0.2:80=1")
		stop()
	})
	files, err := filepath.Glob(filepath.Join(dir, "discovery", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	start := func(want, said string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, dir)
			var h told
			stop := b.Watch(shop, h.apply)
			h.want(t, want)
			stop()
			if !strings.Contains(b.log.String(), said) {
				t.Errorf("log %s\nwant %q in it", b.log, said)
			}
		})
	}
	start("10.0.0.1:80=1 10.0.0.2:80=1", "known last")
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "<html>", "half": string(good[:len(good)/2]), "more behind": string(good) + "{}", "an unknown key": `{"x":1}`,
		"another watch": strings.Replace(string(good), "test shop", "test shoe", 1), "another version": strings.Replace(string(good), `"version": 1`, `"version": 2`, 1),
		"a barred address": strings.Replace(string(good), "10.0.0.1:80", "127.0.0.1:9901", 1), "no endpoints": `{"version":1,"of":"test shop","since":"2026-01-02T03:04:05Z","endpoints":[]}`,
		"too much": strings.Repeat(" ", 5<<20),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(files[0], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			start("", "is not used")
		})
	}
	if err := errors.Join(os.WriteFile(files[0], good, 0o600), os.Chmod(files[0], 0o666)); err != nil {
		t.Fatal(err)
	}
	start("", "others may write to it")
	if err := errors.Join(os.Remove(files[0]), os.Mkdir(files[0], 0o700)); err != nil {
		t.Fatal(err)
	}
	start("", "it is no file")
}

func TestNobodyToAskAndNowhereToKeep(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "discovery"), nil, 0o600); err != nil { // no folder
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, dir)
		h := told{err: errors.New("not wanted")}
		b.Watch(upstream.Discovery{Source: "nobody"}, h.apply)()
		stop := b.Watch(shop, h.apply)
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.1:80")})
		h.want(t, "10.0.0.1:80=1")
		stop()
		for _, want := range []string{"nobody can be asked", "can't be kept", "refused; those of before", "not wanted"} {
			if !strings.Contains(b.log.String(), want) {
				t.Errorf("log %s\nwant %q in it", b.log, want)
			}
		}
	})
}
