package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/apikey/apikeytest"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

var apiKeySecret = bytes.Repeat([]byte{7}, 32)

// apiKeys opens the tier on a server, under a prefix of the test's own.
func apiKeys(t *testing.T, s *testenv.RedisServer, prefix string) *redis.APIKeys {
	t.Helper()
	c, err := redis.Open(t.Context(), redis.Options{Addresses: []string{s.Address()}, Prefix: prefix, Timeout: time.Second, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	k, err := redis.NewAPIKeys(c, apiKeySecret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAPIKeys(t *testing.T) {
	n := 0
	apikeytest.TestShared(t, func(t *testing.T) apikey.Shared {
		n++
		return apiKeys(t, testenv.Redis(t), fmt.Sprintf("suite%d:", n))
	})
}

func TestAPIKeysNeedASecret(t *testing.T) {
	if _, err := redis.NewAPIKeys(nil, make([]byte, 31)); err == nil {
		t.Fatal("31 bytes were enough")
	}
}

// What others put under our keys is ignored, and makes way for the truth.
func TestI18_GarbageInRedis(t *testing.T) {
	s := testenv.Redis(t)
	const prefix = "garbage:"
	tier := apiKeys(t, s, prefix)
	r := apikeytest.Record(1, "")
	r.User = "u-1"
	other := r
	other.ID = "Other00000000000"
	key := prefix + "api_keys:" + r.ID
	for name, plant := range map[string]func(){
		"a string":         func() { s.Do(t, "SET", key, "x") },
		"a list":           func() { s.Do(t, "RPUSH", key, "x") },
		"other fields":     func() { s.Do(t, "HSET", key, "x", "y") },
		"no HMAC":          func() { s.Do(t, "HDEL", key, "hmac") },
		"a wrong HMAC":     func() { s.Do(t, "HSET", key, "hmac", "00") },
		"more scopes":      func() { s.Do(t, "HSET", key, "scopes", "*") },
		"another user":     func() { s.Do(t, "HSET", key, "userId", "admin") },
		"switched on":      func() { s.Do(t, "HSET", key, "active", "false") },
		"a newer revision": func() { s.Do(t, "HSET", key, "revision", "9999999999999999999") },
		"a tombstone":      func() { s.Do(t, "HSET", key, "gone", "1") },
		"binary":           func() { s.Do(t, "HSET", key, "name", "\x00\xff\r\n") },
		"without an end":   func() { s.Do(t, "PERSIST", key) },
		"another's record": func() {
			if err := tier.Put(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			s.Do(t, "DEL", key)
			s.Do(t, "COPY", prefix+"api_keys:"+other.ID, key)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.Do(t, "DEL", key)
			if err := tier.Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if got, err := tier.Load(t.Context(), r.ID); err != nil || !got.Found {
				t.Fatalf("before: %+v, %v", got, err)
			}
			if name == "a string" || name == "a list" || name == "other fields" {
				s.Do(t, "DEL", key)
			}
			plant()
			if got, err := tier.Load(t.Context(), r.ID); !errors.Is(err, apikey.ErrInvalid) {
				t.Fatalf("got %+v, %v", got, err)
			}
			if err := tier.Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if got, err := tier.Load(t.Context(), r.ID); err != nil || !got.Found || got.Record.User != "u-1" {
				t.Fatalf("after: %+v, %v", got, err)
			}
		})
	}
}

// A record or a tombstone lives no longer than it may.
func TestI18_RecordsInRedisExpire(t *testing.T) {
	s := testenv.Redis(t)
	tier := apiKeys(t, s, "expiry:")
	r := apikeytest.Record(1, "")
	r.User = "u-1"
	left := func() time.Duration {
		var ms int64
		if _, err := fmt.Sscanf(s.Do(t, "PTTL", "expiry:api_keys:"+r.ID), ":%d", &ms); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ms) * time.Millisecond
	}
	if err := tier.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if d := left(); d <= apikey.SharedLife-time.Minute || d > apikey.SharedLife {
		t.Errorf("a record has %s left", d)
	}
	s.Do(t, "PEXPIRE", "expiry:api_keys:"+r.ID, "60000")
	got, err := tier.Load(t.Context(), r.ID)
	if err != nil || got.Age < apikey.SharedLife-time.Minute || got.Age > apikey.SharedLife-time.Minute/2 {
		t.Errorf("its age is %s, %v", got.Age, err)
	}
	if err := tier.Bury(t.Context(), r.ID, 9); err != nil {
		t.Fatal(err)
	}
	if d := left(); d <= 2*apikey.SharedLife-time.Minute || d > 2*apikey.SharedLife {
		t.Errorf("a tombstone has %s left", d)
	}
}

// A Redis that is away is ErrUnavailable, and the watch says "look again" when it is back.
func TestAPIKeysWhileRedisIsAway(t *testing.T) {
	s := testenv.NewRedis(t)
	tier := apiKeys(t, s, "")
	told := make(chan string, 1024)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		tier.Watch(ctx, func(id string) { told <- id })
	}()
	defer func() { <-done }()
	defer cancel()
	next := func(want string) {
		t.Helper()
		for deadline := time.After(apikeytest.Patience); ; {
			select {
			case got := <-told:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("%q was not told", want)
			}
		}
	}
	next("")
	s.Stop()
	next("")
	r := apikeytest.Record(1, "")
	r.User = "u-1"
	_, err := tier.Load(t.Context(), r.ID)
	for what, err := range map[string]error{"load": err, "put": tier.Put(t.Context(), r), "bury": tier.Bury(t.Context(), r.ID, 2)} {
		if !errors.Is(err, apikey.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for len(told) > 0 {
		<-told
	}
	s.Start()
	next("")
	if err := tier.Bury(t.Context(), r.ID, 2); err != nil {
		t.Fatal(err)
	}
	next(r.ID)
	s.Pause() // it keeps its connections, and answers nothing
	next("")
	s.Resume()
	next("")
}
