package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/apikey/apikeytest"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// fleet is instances that share nothing but their stores.
type fleet struct {
	t         *testing.T
	instances []*instance
	store     *postgres.APIKeys
	clients   *apikey.Clients
	client    apikey.Client // owns the keys
}

type instance struct {
	*apikey.Keys
	meter *meter.Set
	stop  func()
}

// newFleet starts three instances on a database and, if it is not nil, a Redis.
func newFleet(t *testing.T, url string, server *testenv.RedisServer) *fleet {
	t.Helper()
	f := &fleet{t: t}
	for range 3 {
		// A busy machine takes seconds to make fifty connections at once: make few, and wait.
		db := openKeys(t, url+"&pool_max_conns=4&connect_timeout=30")
		f.store = postgres.NewAPIKeys(db)
		set := meter.NewSet(time.Now)
		o := apikey.Options{Store: f.store, StaleLimit: 15 * time.Minute, FlushEvery: 100 * time.Millisecond, Clock: clock.Real(), Meter: set, Log: zerolog.Nop()}
		if server != nil {
			o.Shared = tier(t, server)
		}
		i := &instance{Keys: apikey.New(o), meter: set}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			i.Run(ctx)
		}()
		i.stop = sync.OnceFunc(func() { cancel(); <-done })
		t.Cleanup(i.stop)
		f.instances = append(f.instances, i)
	}
	watched := uint64(1)
	if server != nil {
		watched = 2
	}
	f.eventually("the stores are watched", func() bool {
		for _, i := range f.instances {
			if i.meter.Counter("gateway_api_key_resyncs_total", "").Value() < watched {
				return false
			}
		}
		return true
	})
	f.clients = apikey.NewClients(f.store, clock.Real())
	_, client, err := f.clients.Create(t.Context(), apikey.NewClient{Name: "shop", Scopes: []string{"courses"}})
	f.must(err)
	f.client = client
	return f
}

// tier is a shared tier on a server.
func tier(t *testing.T, s *testenv.RedisServer) *redis.APIKeys {
	t.Helper()
	c, err := redis.Open(t.Context(), redis.Options{Addresses: []string{s.Address()}, Timeout: time.Second, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	k, err := redis.NewAPIKeys(c, []byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (f *fleet) eventually(what string, is func() bool) time.Duration {
	f.t.Helper()
	begun := time.Now()
	for ; !is(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > apikeytest.Patience {
			f.t.Fatalf("never: %s", what)
		}
	}
	return time.Since(begun)
}

func (f *fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// create makes a key that all instances know.
func (f *fleet) create() (secret string, key apikey.Key) {
	f.t.Helper()
	secret, key, err := f.instances[0].Create(f.t.Context(), apikey.NewKey{Client: f.client.ID, Scopes: []string{"courses"}})
	f.must(err)
	f.eventually("all know the key", func() bool { return f.all(secret, nil) })
	return secret, key
}

// all says whether every instance answers so.
func (f *fleet) all(secret string, want error) bool {
	for _, i := range f.instances {
		if _, err := i.Check([]byte(secret), netip.Addr{}); !errors.Is(err, want) {
			return false
		}
	}
	return true
}

// A revocation on one instance bites on the others in less than a second, with both
// pushes and with PostgreSQL's alone. The slowest of many is what counts.
func TestAK2_ARevocationBitesEverywhere(t *testing.T) {
	for name, server := range map[string]*testenv.RedisServer{"with Redis": testenv.NewRedis(t), "without Redis": nil} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, testenv.Postgres(t), server)
			slowest := time.Duration(0)
			for range 20 {
				secret, key := f.create()
				f.must(f.instances[0].Revoke(t.Context(), key.Principal.Key))
				slowest = max(slowest, f.eventually("it is refused everywhere", func() bool { return f.all(secret, apikey.ErrInactive) }))
			}
			secret, key := f.create()
			f.must(f.clients.Disable(t.Context(), key.Principal.Client))
			slowest = max(slowest, f.eventually("its client is off everywhere", func() bool { return f.all(secret, apikey.ErrInactive) }))
			t.Logf("the slowest of 21 took %s", slowest)
			if slowest > time.Second {
				t.Errorf("it took %s", slowest)
			}
		})
	}
}

// Whoever changes a row by hand is heard as well.
func TestAK2_AChangeByHandBites(t *testing.T) {
	url := testenv.Postgres(t)
	f := newFleet(t, url, nil)
	secret, key := f.create()
	for _, statement := range []struct {
		sql  string
		want error
	}{
		{"UPDATE api_keys SET is_active = false WHERE key_id = $1", apikey.ErrInactive},
		{"UPDATE api_keys SET is_active = true WHERE key_id = $1", nil},
		{"UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE key_id = $1", apikey.ErrExpired},
		{"UPDATE api_keys SET expires_at = null WHERE key_id = $1", nil},
		{"UPDATE api_clients SET is_active = false WHERE id = (SELECT client_id FROM api_keys WHERE key_id = $1)", apikey.ErrInactive},
		{"UPDATE api_clients SET is_active = true WHERE id = (SELECT client_id FROM api_keys WHERE key_id = $1)", nil},
		{"DELETE FROM api_clients WHERE id = (SELECT client_id FROM api_keys WHERE key_id = $1)", apikey.ErrUnknown},
	} {
		execute(t, url, statement.sql, key.Principal.Key)
		if d := f.eventually(statement.sql, func() bool { return f.all(secret, statement.want) }); d > time.Second {
			t.Errorf("%s: it took %s", statement.sql, d)
		}
	}
}

// A user who is disabled or deleted takes their keys along.
func TestAK2_AUserThatIsOffTakesTheirKeysAlong(t *testing.T) {
	url := testenv.Postgres(t)
	f := newFleet(t, url, nil)
	// As 00004 and 00006 have it; a database may have the one without the other.
	execute(t, url, `CREATE TABLE IF NOT EXISTS users (id text PRIMARY KEY, email text NOT NULL UNIQUE, password_hash text NOT NULL, is_active boolean NOT NULL DEFAULT true)`)
	execute(t, url, `CREATE OR REPLACE TRIGGER api_keys_ask_user BEFORE INSERT ON api_keys FOR EACH ROW WHEN (NEW.user_id <> '') EXECUTE FUNCTION api_keys_ask_user()`)
	execute(t, url, `CREATE OR REPLACE TRIGGER users_tell_keys AFTER UPDATE OF is_active OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION users_tell_keys()`)
	execute(t, url, `INSERT INTO users (id, email, password_hash) VALUES ('u-1', 'u@example.com', 'x'), ('u-2', 'v@example.com', 'x')`)
	create := func(user string) string {
		t.Helper()
		secret, _, err := f.instances[0].Create(t.Context(), apikey.NewKey{User: user, Scopes: []string{"courses"}})
		f.must(err)
		return secret
	}
	mine, foreign := create("u-1"), create("partner:u-1")
	for _, step := range []struct {
		sql  string
		want error
	}{
		{"UPDATE users SET is_active = false WHERE id = $1", apikey.ErrInactive},
		{"UPDATE users SET is_active = true WHERE id = $1", nil},
		{"DELETE FROM users WHERE id = $1", apikey.ErrInactive},
	} {
		f.eventually("it is good", func() bool { return step.want == nil || f.all(mine, nil) })
		execute(t, url, step.sql, "u-1")
		if d := f.eventually(step.sql, func() bool { return f.all(mine, step.want) }); d > time.Second {
			t.Errorf("%s: it took %s", step.sql, d)
		}
	}
	if !f.all(foreign, nil) {
		t.Error("somebody else's user of that name lost a key")
	}
	execute(t, url, "UPDATE users SET is_active = false WHERE id = $1", "u-2")
	late := create("u-2")
	f.eventually("a key of a user who is off is refused", func() bool { return f.all(late, apikey.ErrInactive) })
}

// A revocation while Redis is away: its old record comes back with it, and is not believed.
func TestI18_RedisAwayDuringARevocation(t *testing.T) {
	server := testenv.NewRedis(t)
	f := newFleet(t, testenv.Postgres(t), server)
	secret, key := f.create()
	server.Pause()
	f.must(f.instances[0].Revoke(t.Context(), key.Principal.Key))
	f.eventually("it is refused everywhere", func() bool { return f.all(secret, apikey.ErrInactive) })
	server.Resume()
	shared := tier(t, server)
	f.eventually("the tombstone is there", func() bool {
		s, err := shared.Load(t.Context(), key.Principal.Key)
		return err == nil && s.Revision >= 2
	})
	if !f.all(secret, apikey.ErrInactive) {
		t.Error("a revoked key is good again")
	}
	server.Stop() // with all that it holds
	server.Start()
	if !f.all(secret, apikey.ErrInactive) {
		t.Error("a revoked key is good after Redis forgot everything")
	}
}

// While PostgreSQL restarts, known keys are good, and afterwards pushes work again:
// what was changed meanwhile is looked at.
func TestI18_PostgreSQLRestarts(t *testing.T) {
	server := testenv.NewPostgres(t)
	f := newFleet(t, server.Database(t), nil)
	secret, key := f.create()
	server.Stop()
	for range 100 {
		if !f.all(secret, nil) {
			t.Fatal("a known key is refused")
		}
	}
	if _, _, err := f.instances[1].Create(t.Context(), apikey.NewKey{User: "u"}); !errors.Is(err, apikey.ErrUnavailable) {
		t.Errorf("creating a key: %v", err)
	}
	server.Start()
	f.eventually("it can be revoked", func() bool { return f.instances[0].Revoke(t.Context(), key.Principal.Key) == nil })
	f.eventually("it is refused everywhere", func() bool { return f.all(secret, apikey.ErrInactive) })
}

func TestAK3_ConcurrentRotationsInPostgreSQL(t *testing.T) {
	f := newFleet(t, testenv.Postgres(t), nil)
	first, key := f.create()
	secrets, errs := make([]string, 50), make([]error, 50)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			secrets[i], errs[i] = f.instances[i%3].Rotate(context.Background(), key.Principal.Key, time.Hour)
		})
	}
	all.Wait()
	won := ""
	for i, err := range errs {
		switch {
		case err == nil && won == "":
			won = secrets[i]
		case !errors.Is(err, apikey.ErrConflict) && !errors.Is(err, apikey.ErrRotating):
			t.Errorf("caller %d: %v", i, err)
		}
	}
	f.eventually("both secrets are good everywhere", func() bool { return f.all(won, nil) && f.all(first, nil) })
}

// Instances that count the same key add up, and what is counted last is stored when they stop.
func TestAK4_InstancesAddUp(t *testing.T) {
	f := newFleet(t, testenv.Postgres(t), nil)
	_, key := f.create()
	var all sync.WaitGroup
	for _, i := range f.instances {
		all.Go(func() {
			for n := range 3000 {
				i.Used(&key, apikey.Use{Route: fmt.Sprint("route-", n%3), Status: 200, In: 1, Out: 2})
			}
			i.stop()
		})
	}
	all.Wait()
	rows, err := f.instances[0].Usage(t.Context(), key.Principal.Key, time.Now().Add(-2*time.Hour), time.Now().Add(time.Hour))
	f.must(err)
	var sum apikey.Usage
	for _, r := range rows {
		sum.Add(r.Usage)
	}
	if sum.Requests != 9000 || sum.In != 9000 || sum.Out != 18000 || sum.LastUsed < time.Now().Unix()-60 {
		t.Fatalf("got %+v", sum)
	}
}
