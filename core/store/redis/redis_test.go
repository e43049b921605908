package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// TestMain looks for leaks. The library's client of a cluster looks once more at it, up to
// a second after it was closed.
func TestMain(m *testing.M) {
	code := m.Run()
	for deadline := time.Now().Add(20 * time.Second); code == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// open opens a client until the end of the test.
func open(t *testing.T, o redis.Options) *redis.Client {
	t.Helper()
	c, err := redis.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// await polls until so is true.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("20 s later it is not so: %s", what)
		}
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func get(ctx context.Context, c *redis.Client, key string) (string, error) {
	raw := c.Raw()
	return raw.Do(ctx, raw.B().Get().Key(key).Build()).ToString()
}

func TestOpenWithoutServer(t *testing.T) {
	s := testenv.NewRedis(t)
	s.Stop()
	log := new(lines)
	c := open(t, redis.Options{Addresses: []string{s.Address()}, Log: zerolog.New(log)})
	if c.Healthy() {
		t.Error("healthy without a server")
	}
	begun := time.Now()
	if _, err := get(t.Context(), c, "k"); err == nil || time.Since(begun) > time.Second {
		t.Errorf("without a server it took %s to fail with %v", time.Since(begun), err)
	}
	s.Start()
	s.Do(t, "SET", "k", "v")
	await(t, "it is healthy", c.Healthy)
	if got, err := get(t.Context(), c, "k"); err != nil || got != "v" {
		t.Errorf("GET: %q, %v", got, err)
	}
	s.Stop()
	await(t, "it is not healthy", func() bool { return !c.Healthy() })
	if got := log.String(); strings.Count(got, "Redis answers") != 1 || strings.Count(got, "Redis does not answer") != 1 {
		t.Errorf("it logged:\n%s", got)
	}
}

// A server that hangs holds nobody for longer than it may.
func TestHangingServer(t *testing.T) {
	s := testenv.NewRedis(t)
	c := open(t, redis.Options{Addresses: []string{s.Address()}, Timeout: 300 * time.Millisecond, Log: zerolog.Nop()})
	await(t, "it is healthy", c.Healthy)
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := get(ctx, c, "k"); err == nil || time.Since(begun) > 500*time.Millisecond {
		t.Errorf("it took %s to fail with %v", time.Since(begun), err)
	}
	begun = time.Now()
	if _, err := get(t.Context(), c, "k"); err == nil || time.Since(begun) > 5*time.Second {
		t.Errorf("without a deadline it took %s to fail with %v", time.Since(begun), err)
	}
	await(t, "it is not healthy", func() bool { return !c.Healthy() })
	s.Resume()
	await(t, "it is healthy again", c.Healthy)
}

// A cluster or sentinels that are away at the start are found when they come.
func TestOthersAreFoundLater(t *testing.T) {
	t.Run("cluster", func(t *testing.T) {
		s := testenv.NewRedis(t, "--cluster-enabled", "yes")
		s.Stop()
		c := open(t, redis.Options{Addresses: []string{s.Address()}, Mode: redis.Cluster, Log: zerolog.Nop()})
		if _, err := get(t.Context(), c, "k"); err == nil || !strings.Contains(err.Error(), "not connected") {
			t.Errorf("without a server: %v", err)
		}
		s.Start()
		if answer := s.Do(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383"); answer != "+OK" {
			t.Fatal(answer)
		}
		await(t, "the cluster is well", func() bool { return s.Do(t, "SET", "k", "v") == "+OK" })
		await(t, "it is healthy", c.Healthy)
		if got, err := get(t.Context(), c, "k"); err != nil || got != "v" {
			t.Errorf("GET: %q, %v", got, err)
		}
	})
	t.Run("sentinel", func(t *testing.T) {
		master := testenv.NewRedis(t)
		host, port, _ := strings.Cut(master.Address(), ":")
		sentinel := testenv.NewSentinel(t, "suuupra", host, port)
		sentinel.Stop()
		c := open(t, redis.Options{Addresses: []string{sentinel.Address()}, Mode: redis.Sentinel, Master: "suuupra", Log: zerolog.Nop()})
		if c.Healthy() {
			t.Error("healthy without a sentinel")
		}
		sentinel.Start()
		master.Do(t, "SET", "k", "v")
		await(t, "it is healthy", c.Healthy)
		if got, err := get(t.Context(), c, "k"); err != nil || got != "v" {
			t.Errorf("GET: %q, %v", got, err)
		}
	})
}

func TestOpenNeedsAnAddress(t *testing.T) {
	if _, err := redis.Open(t.Context(), redis.Options{}); err == nil {
		t.Error("opened without an address")
	}
}

func TestPassword(t *testing.T) {
	s := testenv.NewRedis(t, "--requirepass", "sesame")
	log := new(lines)
	right := open(t, redis.Options{Addresses: []string{s.Address()}, Password: "sesame", Log: zerolog.New(log)})
	await(t, "the right password is taken", right.Healthy)
	wrong := open(t, redis.Options{Addresses: []string{s.Address()}, Password: "mellon-wrong", Log: zerolog.New(log)})
	if _, err := get(t.Context(), wrong, "k"); err == nil || strings.Contains(err.Error(), "mellon") {
		t.Errorf("with a wrong password: %v", err)
	}
	if got := log.String(); strings.Contains(got, "sesame") || strings.Contains(got, "mellon") {
		t.Errorf("the log holds a password:\n%s", got)
	}
}

func TestI21_Key(t *testing.T) {
	c := open(t, redis.Options{Addresses: []string{testenv.Redis(t).Address()}, Prefix: "p:", Log: zerolog.Nop()})
	long := strings.Repeat("a", 129)
	for id, want := range map[string]string{
		"aZ09_-":     "p:s:aZ09_-",
		"":           "p:s:",
		"a{b}:c*%\n": "p:s:a%7Bb%7D%3Ac%2A%25%0A",
		"é":          "p:s:%C3%A9",
		long[:128]:   "p:s:" + long[:128],
		long:         "p:s:%sha256%wSywJKLlVRzKDgj86PHF4xRVXMP-9jKe6ZSj23UhZq4",
	} {
		if got := c.Key("s:", id); got != want {
			t.Errorf("the key of %q is %q, want %q", id, got, want)
		}
	}
}
