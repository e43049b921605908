package redis_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/revocation/revocationtest"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// revocations connects to server under a prefix, as one instance would.
func revocations(t *testing.T, server *testenv.RedisServer, prefix string) *redis.Revocations {
	t.Helper()
	return redis.NewRevocations(instance(t, redis.Options{Addresses: []string{server.Address()}, Prefix: prefix, Log: zerolog.Nop()}))
}

// instance is a client of its own until the end of the test.
func instance(t *testing.T, o redis.Options) *redis.Client {
	t.Helper()
	c, err := redis.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// record is a log that may be read while it is written.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func hence(d time.Duration) int64 { return time.Now().Add(d).Unix() }

func TestI4_RevocationsArePushed(t *testing.T) {
	var last atomic.Int64
	revocationtest.TestPush(t, func(t *testing.T) func() revocation.Push {
		prefix := fmt.Sprintf("re*v%d:", last.Add(1))
		return func() revocation.Push { return revocations(t, testenv.Redis(t), prefix) }
	})
}

func TestID3_AKeyHoldsItsTimesAndExpires(t *testing.T) {
	s := testenv.NewRedis(t)
	r := revocations(t, s, "p:")
	at := hence(time.Hour)
	e := revocation.Entry{Key: revocation.UserKey("alice"), NotBefore: 17, Expires: at}
	for range 2 {
		if err := r.Publish(t.Context(), []revocation.Entry{e}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := s.Do(t, "GET", "p:jwt_blacklist:user:alice"), fmt.Sprintf("17 %d", at); got != want {
		t.Errorf("the value is %q, want %q", got, want)
	}
	if got, want := s.Do(t, "PEXPIRETIME", "p:jwt_blacklist:user:alice"), fmt.Sprintf(":%d000", at); got != want {
		t.Errorf("it expires at %s, want %s", got, want)
	}
	if err := r.Publish(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// Redis answering garbage: each bad value is refused, once complained about, and costs
// the others nothing. It is overwritten by the next revocation of its key.
func TestI4_GarbageIsRefused(t *testing.T) {
	s := testenv.NewRedis(t)
	log := new(record)
	r := redis.NewRevocations(instance(t, redis.Options{Addresses: []string{s.Address()}, Log: zerolog.New(log)}))
	far := strconv.FormatInt(hence(time.Hour), 10)
	garbage := map[string]string{
		"empty": "", "word": "x", "one": far, "three": "0 " + far + " 1", "negative": "-1 " + far, "zeros": "00 " + far,
		"never": "0 0", "huge": "0 99999999999999999999", "float": "0 1e10", "spaces": "0  " + far, "json": `{"expires":1}`,
		"late": "0 9007199254740993", "bytes": "\xff\x00 \n", "plus": "+0 " + far, "hex": "0x1 " + far,
		"user:a:b": "0 " + far, "odd key\n": "0 " + far, "": "0 " + far,
	}
	keys := []string{"good", "list"}
	for key, value := range garbage {
		keys = append(keys, key)
		s.Do(t, "SET", "jwt_blacklist:"+key, value)
	}
	s.Do(t, "LPUSH", "jwt_blacklist:list", "0 "+far)
	s.Do(t, "SET", "jwt_blacklist:good", "5 "+far)
	s.Do(t, "SET", "jwt_blacklistgood2", "5 "+far)
	for name, ask := range map[string]func() ([]revocation.Entry, error){
		"load": func() ([]revocation.Entry, error) { return r.Load(t.Context()) },
		"read": func() ([]revocation.Entry, error) { return r.Read(t.Context(), keys) },
	} {
		got, err := ask()
		if err != nil || len(got) != 1 || got[0].Key != "good" || got[0].NotBefore != 5 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if n := strings.Count(log.String(), "what is no revocation"); n != 1 {
		t.Errorf("complained %d times:\n%s", n, log)
	}
	for _, key := range []string{"list", "empty", "zeros", "huge", "late", "json", "hex"} {
		e := revocation.Entry{Key: key, NotBefore: 9, Expires: hence(time.Hour)}
		if err := r.Publish(t.Context(), []revocation.Entry{e}); err != nil {
			t.Errorf("over %s: %v", key, err)
		}
		if got, err := r.Read(t.Context(), []string{key}); err != nil || len(got) != 1 || got[0] != e {
			t.Errorf("over %s: %+v, %v", key, got, err)
		}
	}
}

func TestI4_AnEvictingServerIsRefused(t *testing.T) {
	s := testenv.NewRedis(t)
	r := revocations(t, s, "")
	for policy, bad := range map[string]bool{
		"noeviction": false, "volatile-lru": false, "volatile-ttl": false,
		"allkeys-lru": true, "allkeys-lfu": true, "allkeys-random": true,
	} {
		s.Do(t, "CONFIG", "SET", "maxmemory-policy", policy)
		err := r.Check(t.Context())
		if (err != nil) != bad || bad && !strings.Contains(err.Error(), policy) {
			t.Errorf("%s: %v", policy, err)
		}
	}
	s.Stop()
	if err := r.Check(t.Context()); err == nil {
		t.Error("nobody was asked")
	}
	for name, err := range map[string]error{
		"publish one":  r.Publish(t.Context(), []revocation.Entry{{Key: "a", Expires: 1 << 40}}),
		"publish many": r.Publish(t.Context(), []revocation.Entry{{Key: "a", Expires: 1 << 40}, {Key: "b", Expires: 1 << 40}}),
		"load":         func() error { _, err := r.Load(t.Context()); return err }(),
		"read":         func() error { _, err := r.Read(t.Context(), []string{"a"}); return err }(),
	} {
		if err == nil {
			t.Errorf("%s: no error without a server", name)
		}
	}
}

// In a cluster every master tells of its own keys.
func TestI4_RevocationsArePushedByACluster(t *testing.T) {
	s := testenv.NewRedis(t, "--cluster-enabled", "yes")
	if answer := s.Do(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383"); answer != "+OK" {
		t.Fatal(answer)
	}
	revocationtest.Eventually(t, "the cluster is well", func() bool { return s.Do(t, "SET", "k", "v") == "+OK" })
	revocationtest.TestPush(t, func(t *testing.T) func() revocation.Push {
		s.FlushAll(t)
		return func() revocation.Push {
			c := instance(t, redis.Options{Addresses: []string{s.Address()}, Mode: redis.Cluster, Log: zerolog.Nop()})
			revocationtest.Eventually(t, "it is connected", c.Healthy)
			return redis.NewRevocations(c)
		}
	})
}
