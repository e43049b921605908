package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/principal"
)

// known makes an entry like that of a real token.
func known(c *cache, n int, key *verificationKey, expires int64) *entry {
	text := fmt.Sprintf(`{"iss":"https://api.example","aud":"suuupra","sub":"user-%08d","iat":1,"exp":%d,"jti":"%022d","scope":["courses","payments:refund"],"sessionId":"session-%08d","client_id":"web"}`, n, expires, n, n)
	claims, err := decodeObject(text)
	if err != nil {
		panic(err)
	}
	scopes, err := principal.NewScopes([]string{"courses", "payments:refund"})
	if err != nil {
		panic(err)
	}
	v := &Verified{Claims: claims, Expires: expires, Principal: principal.Principal{User: claims["sub"].(string), Scopes: scopes}}
	token := strings.Repeat("h", 100) + text + text[:len(text)/3] + fmt.Sprintf("%0342d", n)
	return &entry{token: token, hash: c.hash([]byte(token)), key: key, verified: v, bytes: weigh(token, v)}
}

func TestI9_ComparedByteForByte(t *testing.T) {
	c := newCache(1 << 20)
	e := known(c, 1, new(verificationKey), 1e9)
	c.put(e, 0)
	if c.get(e.hash, []byte(e.token)) != e.verified {
		t.Fatal("a known token is not known")
	}
	for i := range len(e.token) {
		other := []byte(e.token)
		other[i] ^= 1
		if c.get(e.hash, other) != nil { // as if the hashes collided
			t.Fatalf("a token with byte %d changed was taken for it", i)
		}
	}
	for _, other := range []string{e.token[1:], e.token[:len(e.token)-1], e.token + "x", ""} {
		if c.get(e.hash, []byte(other)) != nil {
			t.Fatalf("%q was taken for it", other)
		}
	}
}

func TestI9_EntriesDieWithTheirKey(t *testing.T) {
	c := newCache(1 << 20)
	key, other := new(verificationKey), new(verificationKey)
	a, b := known(c, 1, key, 1e9), known(c, 2, other, 1e9)
	c.put(a, 0)
	c.put(b, 0)
	key.withdrawn.Store(true)
	if c.get(a.hash, []byte(a.token)) != nil || c.get(b.hash, []byte(b.token)) == nil {
		t.Fatal("the entries of a withdrawn key die, and no others")
	}
	before := c.bytes()
	c.sweep(0)
	if c.bytes() != before-a.bytes {
		t.Errorf("%d bytes before the sweep, %d after it; the dead entry has %d", before, c.bytes(), a.bytes)
	}
	c.sweep(1e9)
	if c.get(b.hash, []byte(b.token)) != nil || c.bytes() != newCache(1<<20).bytes() {
		t.Error("an expired entry outlived the sweep")
	}
}

func TestI9_WhatIsHitStaysWhileOthersPassBy(t *testing.T) {
	c := newCache(1 << 20)
	key := new(verificationKey)
	favourite := known(c, 0, key, 1e9)
	c.put(favourite, 0)
	shown, forgotten := 0, 0
	for i := 1; i < 20_000; i++ {
		c.put(known(c, i, key, 1e9), 0)
		if i%50 != 0 {
			continue
		}
		if shown++; c.get(favourite.hash, []byte(favourite.token)) == nil {
			forgotten++ // its bucket was full just after the hand had passed: rare, and one verification
			c.put(favourite, 0)
		}
	}
	if forgotten > shown/50 {
		t.Errorf("the token that everybody shows was forgotten %d times of %d", forgotten, shown)
	}
	if c.evicted.Load() == 0 {
		t.Error("nothing was evicted: the test shows nothing")
	}
}

// Whatever is put, hit and withdrawn: the count of bytes is that of the entries, it
// stays inside the bound, and nothing is found that was not put.
func TestI9_CacheKeepsItsBooks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(0, 2<<20).Draw(t, "limit")
		c := newCache(limit)
		keys := []*verificationKey{{}, {}, {}}
		steps := rapid.SliceOfN(rapid.IntRange(0, 600), 200, 500).Draw(t, "steps")
		for now, n := range steps {
			key := keys[n%len(keys)]
			switch e := known(c, n, key, int64(n)); {
			case n%101 == 100:
				key.withdrawn.Store(true)
				keys[n%len(keys)] = new(verificationKey)
			case n%97 == 96:
				c.sweep(int64(now))
			case now%3 == 0:
				if v := c.get(e.hash, []byte(e.token)); v != nil && v.Principal.User != e.verified.Principal.User {
					t.Fatal("somebody else's entry")
				}
			default:
				c.put(e, int64(now))
			}
			var sum int64
			for i := range c.shards {
				s := &c.shards[i]
				var held int64
				for j := range s.buckets {
					for w := range s.buckets[j].slots {
						if e := s.buckets[j].slots[w].Load(); e != nil {
							held += e.bytes
						}
					}
				}
				if held != s.bytes.Load() || held > max(s.limit, 0) {
					t.Fatalf("shard %d holds %d bytes, counts %d, and may have %d", i, held, s.bytes.Load(), s.limit)
				}
				sum += held
			}
			if c.bytes() < sum {
				t.Fatalf("%d bytes, of which %d in entries", c.bytes(), sum)
			}
		}
	})
}

// Readers and writers at once; the race detector looks on.
func TestI9_CacheAmongManyCallers(t *testing.T) {
	c := newCache(512 << 10)
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			key := new(verificationKey)
			for i := range 2000 {
				e := known(c, i%700, key, 1e9)
				if v := c.get(e.hash, []byte(e.token)); v != nil && v.Principal.User != e.verified.Principal.User {
					t.Error("somebody else's entry")
				}
				c.put(e, 0)
				if i%500 == g {
					key.withdrawn.Store(true)
					key = new(verificationKey)
					c.sweep(0)
				}
			}
		})
	}
	group.Wait()
}

// What entries are said to weigh is what they weigh, give or take a quarter.
func TestI9_WeightIsHonest(t *testing.T) {
	const entries = 4000
	c := newCache(1)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	kept := make([]*entry, entries)
	before, sum := heap(), int64(0)
	for i := range kept {
		kept[i] = known(c, i, nil, 1e9)
		sum += kept[i].bytes
	}
	grown := int64(heap() - before)
	runtime.KeepAlive(kept)
	if grown > sum*5/4 || grown < sum*3/4 {
		t.Errorf("%d entries hold %d bytes each, and are said to hold %d", entries, grown/entries, sum/entries)
	}
}

// From any list of keys, after any time, settle leaves a key
// that signs for each purpose, and is settled.
func TestI17_SettledIsSettled(t *testing.T) {
	at := func(t *rapid.T, name string) time.Time {
		return time.Unix(rapid.Int64Range(0, 100*86400).Draw(t, name), 0)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := rotation{every: 30 * 24 * time.Hour, ahead: 24 * time.Hour, life: 7 * 24 * time.Hour}
		if rapid.Bool().Draw(t, "by hand") {
			r.every = 0
		}
		var keys []StoredKey
		for i := range rapid.IntRange(0, 7).Draw(t, "keys") {
			keys = append(keys, StoredKey{
				ID: fmt.Sprint("k", i), Purpose: rapid.SampledFrom(purposes()).Draw(t, "purpose"),
				Created: at(t, "created"), Signs: at(t, "signs"), Life: time.Duration(rapid.Int64Range(0, 10*86400).Draw(t, "life")) * time.Second,
			})
		}
		now := at(t, "now")
		settled, _ := r.settle(cloned(keys), now)
		for i := range settled {
			if settled[i].ID == "" {
				settled[i].ID = fmt.Sprint("made", i)
			}
		}
		for _, p := range purposes() {
			line := of(settled, p)
			i := current(line, now)
			if i < 0 {
				t.Fatalf("nothing signs %s tokens", p)
			}
			if line[i].Life < r.lifeOf(p) {
				t.Fatalf("the key that signs promises to live %s", line[i].Life)
			}
			for j := range i {
				if ends(line, j).Before(now) && j == 0 {
					t.Fatal("a key is kept that is over")
				}
			}
		}
		before := cloned(keys)
		ordered(before)
		for _, p := range purposes() { // what may still be alive is never dropped
			line := of(before, p)
			for i, k := range line {
				kept := slices.ContainsFunc(settled, func(s StoredKey) bool { return s.ID == k.ID })
				if over := ends(line, i); !kept && (over.IsZero() || !over.Before(now)) {
					t.Fatalf("key %s was dropped, and what it signed may live until %s", k.ID, over)
				}
			}
		}
		if again, more := r.settle(cloned(settled), now); more || len(again) != len(settled) {
			t.Fatalf("settled twice it changes again: %v, then %v", settled, again)
		}
	})
}

func TestI17_DroppedKeyNeverSigns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var keys []StoredKey
		for i := range rapid.IntRange(1, 5).Draw(t, "keys") {
			keys = append(keys, StoredKey{ID: fmt.Sprint("k", i), Purpose: ForAccess, Signs: time.Unix(rapid.Int64Range(0, 100).Draw(t, "signs"), 0)})
		}
		now := time.Unix(rapid.Int64Range(0, 100).Draw(t, "now"), 0)
		id := rapid.SampledFrom(keys).Draw(t, "dropped").ID
		left, found := drop(cloned(keys), id, now)
		r := rotation{life: time.Hour}
		left, _ = r.settle(left, now)
		line := of(left, ForAccess)
		i := current(line, now)
		if !found || i < 0 || line[i].ID == id {
			t.Fatalf("dropped %s of %v: left %v", id, keys, left)
		}
	})
}

func TestI2_NoProxyAndNoUnboundedClient(t *testing.T) {
	f, err := newFetcher(Foreign{KeySetURL: "https://idp.example/jwks"})
	if err != nil {
		t.Fatal(err)
	}
	transport := f.client.Transport.(*http.Transport)
	if transport.Proxy != nil || transport.TLSClientConfig.InsecureSkipVerify {
		t.Error("a proxy of the environment, or an unverified server, could answer for the issuer")
	}
}

func TestI2_AddressesThatMayBeDialled(t *testing.T) {
	for _, c := range []struct {
		address           string
		loopback, private bool
		ok                bool
	}{
		{"93.184.216.34:443", false, false, true},
		{"[2606:2800:220:1::1]:443", false, false, true},
		{"10.1.2.3:443", false, false, false},
		{"10.1.2.3:443", false, true, true},
		{"172.16.0.1:443", false, false, false},
		{"172.32.0.1:443", false, false, true},
		{"192.168.0.1:443", false, false, false},
		{"127.0.0.1:443", false, false, false},
		{"127.0.0.1:80", true, true, true},
		{"[::1]:80", true, true, true},
		{"10.1.2.3:80", true, true, false}, // "localhost" that was resolved to something else
		{"93.184.216.34:80", true, true, false},
		{"[::ffff:10.0.0.1]:443", false, false, false},
		{"[fe80::1%eth0]:443", false, false, false},
		{"[fd12::1]:443", false, false, false},
		{"169.254.169.254:443", false, false, false},
		{"100.100.0.1:443", false, false, false},
		{"0.0.0.0:443", false, false, false},
		{"[::]:443", false, false, false},
		{"224.0.0.1:443", false, false, false},
		{"[ff02::1]:443", false, false, false},
		{"255.255.255.255:443", false, false, false},
		{"[64:ff9b::7f00:1]:443", false, false, false},
		{"[2002:7f00:1::]:443", false, false, false},
		{"nonsense", false, true, false},
	} {
		if err := mayDial(c.address, c.loopback, c.private); (err == nil) != c.ok {
			t.Errorf("%s, loopback %v, private %v: %v", c.address, c.loopback, c.private, err)
		}
	}
	if isPublic(netip.Addr{}) {
		t.Error("no address is public")
	}
}

// A key whose kind has changed under it is no key of ours.
func TestI17_StoredKeysOfOtherKinds(t *testing.T) {
	s, err := newSealer(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	internal, err := s.generate(StoredKey{Purpose: ForInternal})
	if err != nil {
		t.Fatal(err)
	}
	private, err := s.open(internal)
	if err != nil {
		t.Fatal(err)
	}
	access := StoredKey{ID: internal.ID, Purpose: ForAccess}
	access.Sealed = s.seal(access, private)
	if _, err := s.unseal(access); err == nil {
		t.Error("an EC key for access tokens was taken")
	}
	junk := StoredKey{ID: "x", Purpose: ForAccess}
	junk.Sealed = s.seal(junk, []byte("no key"))
	if _, err := s.unseal(junk); err == nil || strings.Contains(err.Error(), "no key\x00") {
		t.Errorf("junk: %v", err)
	}
	renamed := StoredKey{ID: "renamed", Purpose: ForInternal}
	renamed.Sealed = s.seal(renamed, private)
	if _, err := s.unseal(renamed); err == nil {
		t.Error("a key under another id was taken")
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := thumbprint(wide.Public()); err != nil {
		t.Error(err)
	}
	if _, err := thumbprint("no key"); err == nil {
		t.Error("a thumbprint of nothing")
	}
}

// The example of RFC 7638 §3.1.
func TestI17_ThumbprintOfTheRFC(t *testing.T) {
	const set = `{"keys":[{"kty":"RSA","kid":"2011-04-29","alg":"RS256","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}]}`
	keys, passed, err := parseKeySet(set, []string{"RS256"})
	if err != nil || passed != 0 || len(keys) != 1 {
		t.Fatalf("%d keys, %d passed over, %v", len(keys), passed, err)
	}
	got, err := thumbprint(keys["2011-04-29"].public)
	if want := "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; err != nil || got != want {
		t.Errorf("thumbprint %s, %v; want %s", got, err, want)
	}
}

func TestI7_InternalTokens(t *testing.T) {
	c := clock.NewFake(time.Unix(1e9, 0))
	keys, err := OpenKeys(t.Context(), KeysOptions{Store: new(MemoryKeys), PublishAhead: time.Hour, Longest: time.Hour, Clock: c, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSigner(SignerOptions{Keys: keys, Issuer: "https://api.example", Audience: "suuupra", Access: time.Hour, Clock: c})
	public, passed, err := parseKeySet(string(keys.InternalJWKS()), []string{"ES256"})
	if err != nil || passed != 0 {
		t.Fatal(err)
	}
	scopes, err := principal.NewScopes([]string{"courses"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		who  principal.Principal
		want string
	}{
		"a user":    {principal.Principal{User: "u", Client: "web", Session: "s", Scopes: scopes}, `{"aud":"service:payments","client_id":"web","exp":1000000060,"iat":1000000000,"iss":"https://api.example","scope":["courses"],"sessionId":"s","sub":"u"}`},
		"a client":  {principal.Principal{Client: "web"}, `{"aud":"service:payments","client_id":"web","exp":1000000060,"iat":1000000000,"iss":"https://api.example","scope":[],"sub":"web"}`},
		"a key":     {principal.Principal{Key: "k"}, `{"api_key":"k","aud":"service:payments","exp":1000000060,"iat":1000000000,"iss":"https://api.example","scope":[],"sub":"k"}`},
		"a foreign": {principal.Principal{User: "partner:a", Client: "partner:b", Issuer: "partner"}, `{"aud":"service:payments","client_id":"partner:b","exp":1000000060,"iat":1000000000,"iss":"https://api.example","scope":[],"sub":"partner:a"}`},
	} {
		text, err := s.Internal(&c.who, "payments")
		if err != nil {
			t.Fatal(err)
		}
		p, err := split(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.verify([]string{"gw+jwt"}, func(kid, _ string) (*verificationKey, error) { return public[kid], nil }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if id, _ := p.claims["jti"].(string); len(id) != 22 {
			t.Errorf("%s: jti %q", name, id)
		}
		delete(p.claims, "jti")
		if got, _ := json.Marshal(p.claims); string(got) != c.want {
			t.Errorf("%s: claims\n%s, want\n%s", name, got, c.want)
		}
	}
	if _, err := s.Internal(&principal.Principal{}, "payments"); err == nil {
		t.Error("a token that names nobody was made")
	}
}
