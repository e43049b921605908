package redis_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/revocation/revocationtest"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// mirrorOf runs one instance's mirror until the test ends; either store may be absent.
func mirrorOf(t *testing.T, address, url string) *revocation.Mirror {
	t.Helper()
	o := revocation.Options{Clock: clock.Real(), Meter: meter.NewSet(time.Now), Log: zerolog.Nop()}
	if address != "" {
		o.Push = redis.NewRevocations(instance(t, redis.Options{Addresses: []string{address}, Log: zerolog.Nop()}))
	}
	if url != "" {
		db, err := postgres.Open(t.Context(), postgres.Options{URL: url, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		o.Durable = postgres.NewRevocations(db)
	}
	m, err := revocation.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return m
}

// inTouch waits until mirrors were.
func inTouch(t *testing.T, mirrors ...*revocation.Mirror) {
	t.Helper()
	revocationtest.Eventually(t, "in touch", func() bool {
		return !slices.ContainsFunc(mirrors, func(m *revocation.Mirror) bool { age, ready := m.State(); return !ready || age > 2*time.Second })
	})
}

func of(id string) revocation.Entry {
	return revocation.Entry{Key: revocation.SessionKey(id), Expires: hence(time.Hour)}
}

// spread revokes at one mirror and measures until the others refuse, n times.
func spread(t *testing.T, n int, at *revocation.Mirror, others ...*revocation.Mirror) (took []time.Duration) {
	t.Helper()
	for i := range n {
		begun := time.Now()
		id := fmt.Sprintf("s%d-%d", i, begun.UnixNano())
		err := at.Revoke(t.Context(), of(id))
		if err != nil && !errors.Is(err, revocation.ErrNotDurable) {
			t.Fatal(err)
		}
		for _, m := range others {
			for !m.Revoked(id, "", 0) {
				if time.Since(begun) > 10*time.Second {
					t.Fatalf("%s is not refused elsewhere after 10 s", id)
				}
				time.Sleep(200 * time.Microsecond)
			}
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	t.Logf("%d revocations were felt by %d others: median %s, p99 %s, worst %s", n, len(others), took[n/2], took[n*99/100], took[n-1])
	return took
}

func TestID3_RevocationsAreFeltByPushAlone(t *testing.T) {
	s := testenv.NewRedis(t)
	a, b, c := mirrorOf(t, s.Address(), ""), mirrorOf(t, s.Address(), ""), mirrorOf(t, s.Address(), "")
	inTouch(t, a, b, c)
	took := spread(t, 300, a, b, c)
	if p99, worst := took[len(took)*99/100], took[len(took)-1]; p99 > 200*time.Millisecond || worst > time.Second {
		t.Errorf("p99 %s (want 200 ms), worst %s (want 1 s)", p99, worst)
	}
}

func TestID3_RevocationsAreFeltByNotifyAlone(t *testing.T) {
	url := testenv.Postgres(t)
	a, b, c := mirrorOf(t, "", url), mirrorOf(t, "", url), mirrorOf(t, "", url)
	inTouch(t, a, b, c)
	if took := spread(t, 100, a, b, c); took[99] > 2*time.Second {
		t.Errorf("worst %s, want 2 s", took[99])
	}
}

// pollOnly is a durable store that tells of nothing.
type pollOnly struct{ revocation.Durable }

func (pollOnly) Watch(ctx context.Context, _ func()) { <-ctx.Done() }

// The push store stands behind a proxy, which is severed.
func TestI6_WithPushSeveredPollingAloneIsEnough(t *testing.T) {
	s, url := testenv.NewRedis(t), testenv.Postgres(t)
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "redis", "127.0.0.1:0", s.Address())
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(t.Context(), postgres.Options{URL: url, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	var mirrors []*revocation.Mirror
	for range 3 {
		m, err := revocation.New(revocation.Options{
			Clock: clock.Real(), Meter: meter.NewSet(time.Now), Log: zerolog.Nop(), Durable: pollOnly{postgres.NewRevocations(db)},
			Push: redis.NewRevocations(instance(t, redis.Options{Addresses: []string{proxy.Listen}, Log: zerolog.Nop()})),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); m.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
		mirrors = append(mirrors, m)
	}
	inTouch(t, mirrors...)
	proxy.Stop()
	if took := spread(t, 5, mirrors[0], mirrors[1:]...); took[4] > 2*time.Second {
		t.Errorf("worst %s, want 2 s", took[4])
	}
	if got := s.Do(t, "DBSIZE"); got != ":0" {
		t.Fatalf("it was not severed: %s", got)
	}
	// When it is mended Redis gets what it missed.
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	defer proxy.Stop()
	revocationtest.Eventually(t, "Redis holds all", func() bool { return s.Do(t, "DBSIZE") == ":5" })
}

func TestI4_RedisKilledAndBackEmpty(t *testing.T) {
	s := testenv.NewRedis(t)
	a, b := mirrorOf(t, s.Address(), ""), mirrorOf(t, s.Address(), "")
	inTouch(t, a, b)
	spread(t, 20, a, b)
	if err := a.Revoke(t.Context(), of("first"), revocation.Entry{Key: "user:u", NotBefore: 7, Expires: hence(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	// Revoked while it is away: known at one instance only.
	if err := a.Revoke(t.Context(), of("meanwhile")); err != nil {
		t.Fatal(err)
	}
	s.Start()
	back := time.Now()
	revocationtest.Eventually(t, "Redis has all again", func() bool { return s.Do(t, "DBSIZE") == ":23" })
	revocationtest.Eventually(t, "so has the other", func() bool { return b.Revoked("meanwhile", "", 0) })
	if took := time.Since(back); took > 2*time.Second {
		t.Errorf("it took %s, want 2 s", took)
	} else {
		t.Logf("right again %s after it was back", took)
	}
	if !b.Revoked("first", "", 0) || !b.Revoked("", "u", 6) {
		t.Error("forgotten")
	}
	spread(t, 20, b, a)
	for what, lose := range map[string]func(){
		"flush":    func() { s.FlushAll(t) },
		"eviction": func() { s.Do(t, "DEL", "jwt_blacklist:user:u", "jwt_blacklist:meanwhile") },
		"weakened": func() {
			s.Do(t, "SET", "jwt_blacklist:meanwhile", fmt.Sprintf("3 %d", hence(time.Minute)))
			s.Do(t, "SET", "jwt_blacklist:user:u", "nonsense")
		},
	} {
		lose()
		revocationtest.Eventually(t, "all is there again after "+what, func() bool {
			return s.Do(t, "DBSIZE") == ":43" && strings.HasPrefix(s.Do(t, "GET", "jwt_blacklist:meanwhile"), "0 ") &&
				strings.HasPrefix(s.Do(t, "GET", "jwt_blacklist:user:u"), "7 ")
		})
		if !a.Revoked("meanwhile", "", 0) || !b.Revoked("meanwhile", "", 0) {
			t.Error("forgotten after " + what)
		}
	}
}

func TestI6_PostgresRestartedAndBothAway(t *testing.T) {
	s, p := testenv.NewRedis(t), testenv.NewPostgres(t)
	url := p.Database(t)
	a, b := mirrorOf(t, s.Address(), url), mirrorOf(t, s.Address(), url)
	inTouch(t, a, b)
	p.Stop()
	if err := a.Revoke(t.Context(), of("pushed")); !errors.Is(err, revocation.ErrNotDurable) {
		t.Errorf("without PostgreSQL: %v", err)
	}
	revocationtest.Eventually(t, "pushed all the same", func() bool { return b.Revoked("pushed", "", 0) })
	s.Stop()
	if err := a.Revoke(t.Context(), of("kept")); !errors.Is(err, revocation.ErrNotDurable) {
		t.Errorf("without both: %v", err)
	}
	if !a.Revoked("kept", "", 0) || b.Revoked("kept", "", 0) {
		t.Error("it is refused where it was revoked, and nobody else can know it")
	}
	cold := mirrorOf(t, s.Address(), url)
	if _, ready := cold.State(); ready || cold.Revoked("kept", "", 0) {
		t.Error("a cold start without a source is ready")
	}
	p.Start()
	revocationtest.Eventually(t, "saved when PostgreSQL is back", func() bool {
		return b.Revoked("kept", "", 0) && cold.Revoked("kept", "", 0) && cold.Revoked("pushed", "", 0)
	})
	if _, ready := cold.State(); !ready {
		t.Error("it has a source, and is not ready")
	}
	s.Start()
	revocationtest.Eventually(t, "and told when Redis is", func() bool { return s.Do(t, "DBSIZE") == ":2" })
	if took := spread(t, 20, b, a, cold); took[19] > time.Second {
		t.Errorf("worst %s, want 1 s", took[19])
	}
}

// A server that hangs is no server, and makes nobody wait for long.
func TestI6_RedisHangs(t *testing.T) {
	s, url := testenv.NewRedis(t), testenv.Postgres(t)
	a, b := mirrorOf(t, s.Address(), url), mirrorOf(t, s.Address(), url)
	inTouch(t, a, b)
	s.Pause()
	begun := time.Now()
	if err := a.Revoke(t.Context(), of("hung")); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("the caller waited %s", took)
	}
	revocationtest.Eventually(t, "felt by PostgreSQL", func() bool { return b.Revoked("hung", "", 0) })
	s.Resume()
	revocationtest.Eventually(t, "told when it answers", func() bool {
		return strings.HasPrefix(s.Do(t, "GET", "jwt_blacklist:hung"), "0 ")
	})
}
