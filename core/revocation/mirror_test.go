package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/revocation/revocationtest"
)

func TestI5_WhatAnEntryRefuses(t *testing.T) {
	t.Parallel()
	m := made(t, revocation.Options{})
	long := strings.Repeat("é", 100)
	revoke(t, m,
		session("s1"),
		session("odd id/ü"),
		revocation.Entry{Key: revocation.UserKey("alice"), NotBefore: 1000, Expires: hence(time.Hour)},
		revocation.Entry{Key: revocation.UserKey("mallory"), Expires: hence(time.Hour)},
		revocation.Entry{Key: revocation.UserKey("partner:bob"), NotBefore: 1000, Expires: hence(time.Hour)},
		revocation.Entry{Key: revocation.UserKey(long), NotBefore: 1000, Expires: hence(time.Hour)},
		revocation.Entry{Key: revocation.ForeignKey("https://idp", "jti", "1"), Expires: hence(time.Hour)},
	)
	for _, c := range []struct {
		session, user string
		issued        int64
		want          bool
	}{
		{"s1", "", 5000, true},
		{"s1", "anybody", 5000, true},
		{"s2", "", 0, false},
		{"", "", 0, false},
		{"odd id/ü", "", 0, true},
		{"odd id/u", "", 0, false},
		{"s2", "alice", 999, true},
		{"s2", "alice", 1000, false},
		{"", "alice", 0, true},
		{"user:alice", "", 0, false}, // a session that calls itself so is another key
		{"", "s1", 0, false},
		{"", "mallory", 1 << 40, true},
		{"", "partner:bob", 999, true},
		{"", "partner:bob", 1000, false},
		{"", "partner%3Abob", 999, false},
		{"", long, 999, true},
		{"", long + "é", 999, false},
	} {
		if got := m.Revoked(c.session, c.user, c.issued); got != c.want {
			t.Errorf("session %q of %.20q issued at %d: refused %v, want %v", c.session, c.user, c.issued, got, c.want)
		}
	}
	for _, c := range []struct {
		issuer, kind, value string
		want                bool
	}{
		{"https://idp", "jti", "1", true},
		{"https://idp", "sid", "1", false},
		{"https://other", "jti", "1", false},
	} {
		keys := []string{revocation.ForeignKey("https://idp", "jti", "2"), revocation.ForeignKey(c.issuer, c.kind, c.value)}
		if got := m.RevokedForeign(keys); got != c.want {
			t.Errorf("%+v: refused %v", c, got)
		}
	}
	if m.RevokedForeign(nil) {
		t.Error("no key is refused")
	}
}

func TestI21_KeysAreEncoded(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		want := string(rune(c))
		if !strings.Contains("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_", want) || c > 0x7f {
			want = fmt.Sprintf("%%%02X", c)
		}
		if got := revocation.SessionKey(string([]byte{byte(c)})); got != want {
			t.Errorf("%02x is encoded as %s, want %s", c, got, want)
		}
	}
	if got := revocation.UserKey(strings.Repeat("a", 129)); len(got) != len("user:%sha256%")+43 {
		t.Errorf("a long id is not hashed: %s", got)
	}
	if got, want := revocation.ForeignKey("i", "jti", "v"), "ext:"; !strings.HasPrefix(got, want) || len(got) != len(want)+43 {
		t.Errorf("got %s", got)
	}
}

func TestWhatIsNoEntry(t *testing.T) {
	t.Parallel()
	m := made(t, revocation.Options{})
	for _, bad := range []revocation.Entry{
		{Key: "", Expires: 1 << 40},
		{Key: "user:", Expires: 1 << 40},
		{Key: "ext:", Expires: 1 << 40},
		{Key: "user:a:b", Expires: 1 << 40},
		{Key: "a b", Expires: 1 << 40},
		{Key: "a\n", Expires: 1 << 40},
		{Key: "ü", Expires: 1 << 40},
		{Key: strings.Repeat("a", 390), Expires: 1 << 40},
		{Key: "a"},
		{Key: "a", Expires: -1},
		{Key: "a", Expires: 1<<53 + 1},
		{Key: "a", Expires: 1 << 40, NotBefore: -1},
		{Key: "a", Expires: 1 << 40, NotBefore: 1 << 60},
	} {
		if err := m.Revoke(t.Context(), session("good"), bad); err == nil || errors.Is(err, revocation.ErrNotDurable) {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
	if m.Count() != 0 {
		t.Error("a batch with a bad entry was taken in part")
	}
	for _, id := range []string{strings.Repeat("ü", 64), strings.Repeat("ü", 65), "a:b/c", "~"} {
		if err := (revocation.Entry{Key: revocation.UserKey(id), Expires: 1}).Check(); err != nil {
			t.Errorf("the key of user %.20q: %v", id, err)
		}
		if err := (revocation.Entry{Key: revocation.SessionKey(id), Expires: 1}).Check(); err != nil {
			t.Errorf("the key of session %.20q: %v", id, err)
		}
	}
}

func TestI4_EntriesLeaveAtTheirOwnTimeOnly(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Unix(10_000, 0))
	m := made(t, revocation.Options{Clock: c})
	revoke(t, m, revocation.Entry{Key: "a", Expires: 10_010}, revocation.Entry{Key: "b", Expires: 10_020})
	revoke(t, m, revocation.Entry{Key: "past", Expires: 10_000})
	if m.Count() != 2 {
		t.Fatalf("%d entries; one that has expired is none", m.Count())
	}
	for _, step := range []struct {
		after time.Duration
		want  [2]bool
	}{{9 * time.Second, [2]bool{true, true}}, {time.Second, [2]bool{false, true}}, {9 * time.Second, [2]bool{false, true}}, {time.Second, [2]bool{false, false}}} {
		c.Advance(step.after)
		m.Clean()
		if got := [2]bool{m.Revoked("a", "", 0), m.Revoked("b", "", 0)}; got != step.want {
			t.Errorf("at %s: %v, want %v", c.Now(), got, step.want)
		}
	}
	if m.Count() != 0 || len(m.All()) != 0 {
		t.Errorf("%d entries are left", m.Count())
	}
}

// A user who was refused for good, and is not any more, must not be refused for good
// again by a later logout.
func TestAnEntryWhoseTimeHasComeWeighsNothing(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Unix(10_000, 0))
	directory := t.TempDir()
	m := made(t, revocation.Options{Clock: c, Directory: directory})
	revoke(t, m, revocation.Entry{Key: "user:u", Expires: 10_010})
	c.Advance(10 * time.Second)
	revoke(t, m, revocation.Entry{Key: "user:u", NotBefore: 10_005, Expires: 20_000})
	if err := m.Journal().Purge(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*revocation.Mirror{m, made(t, revocation.Options{Clock: c, Directory: directory})} {
		if !m.Revoked("", "u", 10_004) || m.Revoked("", "u", 10_005) {
			t.Errorf("%v", m.All())
		}
	}
}

func TestI4_WhatAStoreLosesStaysAndIsWrittenAgain(t *testing.T) {
	t.Parallel()
	push, durable := revocationtest.NewPush(), revocationtest.NewDurable()
	m := running(t, revocation.Options{Push: push, Durable: durable})
	e := session("s")
	revoke(t, m, e)
	present := func() bool {
		got, ok := push.Get("s")
		return ok && got == e
	}
	if !present() {
		t.Fatal("not told")
	}
	weaker := e
	weaker.Expires -= 1800
	weaker.NotBefore = 12
	for name, lose := range map[string]func(){
		"evicted": func() { push.Delete("s") },
		"flushed": push.Wipe,
		"weaker":  func() { push.Put(weaker) },
	} {
		lose()
		revocationtest.Eventually(t, name+" is written again", present)
		if !m.Revoked("s", "", 0) {
			t.Errorf("%s: forgotten", name)
		}
	}
	push.Sever(true)
	push.Delete("s")
	durable.Wipe()
	push.Sever(false)
	revocationtest.Eventually(t, "the push store has it again after a restart", present)
}

func TestI4_ADurableStoreThatLostEntriesGetsThemBack(t *testing.T) {
	t.Parallel()
	durable := revocationtest.NewDurable()
	m := running(t, revocation.Options{Durable: durable})
	revoke(t, m, session("s"))
	revocationtest.Eventually(t, "in touch", func() bool { _, ready := m.State(); return ready })
	durable.Sever(true)
	durable.Wipe()
	time.Sleep(1200 * time.Millisecond) // longer than a poll: it was found away
	durable.Sever(false)
	revocationtest.Eventually(t, "it has it again", func() bool { _, ok := durable.Get("s"); return ok })
	if !m.Revoked("s", "", 0) {
		t.Error("forgotten")
	}
}

func TestI6_WithoutADurableStoreNothingIsPromised(t *testing.T) {
	t.Parallel()
	push, durable := revocationtest.NewPush(), revocationtest.NewDurable()
	var log strings.Builder
	a := running(t, revocation.Options{Push: push, Durable: durable, Log: zerolog.New(zerolog.SyncWriter(&log))})
	b := running(t, revocation.Options{Push: push, Durable: durable})
	durable.Sever(true)
	if err := a.Revoke(t.Context(), session("pushed")); !errors.Is(err, revocation.ErrNotDurable) || !errors.Is(err, revocationtest.ErrSevered) {
		t.Fatalf("got %v", err)
	}
	revocationtest.Eventually(t, "the other hears it by push all the same", func() bool { return b.Revoked("pushed", "", 0) })
	push.Sever(true)
	if err := a.Revoke(t.Context(), session("kept")); !errors.Is(err, revocation.ErrNotDurable) {
		t.Fatalf("got %v", err)
	}
	if !a.Revoked("kept", "", 0) || b.Revoked("kept", "", 0) {
		t.Error("it is refused here, and nobody else can know it")
	}
	push.Sever(false)
	durable.Sever(false)
	revocationtest.Eventually(t, "it is told when somebody listens again", func() bool { return b.Revoked("kept", "", 0) })
	revocationtest.Eventually(t, "both are saved", func() bool {
		_, one := durable.Get("pushed")
		_, two := durable.Get("kept")
		return one && two
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Revoke(ctx, session("left")); !errors.Is(err, revocation.ErrNotDurable) {
		t.Errorf("a caller who left before it was saved: %v", err)
	}
	revocationtest.Eventually(t, "it holds all the same", func() bool { return b.Revoked("left", "", 0) })
}

func TestI6_ReadyAndAge(t *testing.T) {
	t.Parallel()
	state := func(m *revocation.Mirror) string {
		age, ready := m.State()
		return fmt.Sprintf("%s %v", age, ready)
	}
	expect := func(what string, m *revocation.Mirror, want string) {
		t.Helper()
		if got := state(m); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	c := clock.NewFake(time.Unix(10_000, 0))
	c.Advance(time.Hour)
	alone := made(t, revocation.Options{Clock: c, Directory: t.TempDir(), StaleLimit: time.Minute})
	c.Advance(time.Hour)
	expect("who shares nothing", alone, "0s true")

	push, durable := revocationtest.NewPush(), revocationtest.NewDurable()
	m := made(t, revocation.Options{Clock: c, Push: push, Durable: durable, StaleLimit: time.Minute})
	lax := made(t, revocation.Options{Clock: c, Push: push, Durable: durable, StaleLimit: time.Minute, ColdStartAllow: true})
	loops := revocation.LoopsOf(m)
	c.Advance(time.Second)
	expect("a cold start", m, "1s false")
	expect("a cold start that is allowed", lax, "1s true")
	c.Advance(time.Minute)
	expect("a cold start that is allowed, after too long", lax, "1m1s false")
	loops.Box(revocation.News{})
	loops.Listen()
	expect("after news, but nothing read", m, "1m1s false")
	push.Sever(true)
	loops.Box(revocation.News{Everything: true})
	loops.Listen()
	expect("when it can't be read", m, "1m1s false")
	push.Sever(false)
	loops.Listen()
	expect("when it was read, but nothing heard since", m, "1m1s false")
	loops.Box(revocation.News{})
	loops.Listen()
	expect("in touch by push", m, "0s true")
	c.Advance(10 * time.Second)
	expect("silence", m, "10s true")
	loops.Poll()
	expect("in touch by poll", m, "0s true")
	c.Advance(10 * time.Second)
	durable.Sever(true)
	loops.Poll()
	expect("a poll that fails", m, "10s true")
	loops.Box(revocation.News{Keys: []string{"x"}})
	push.Sever(true)
	loops.Listen()
	expect("a key that can't be read", m, "10s true")
	c.Advance(50 * time.Second)
	expect("at the limit", m, "1m0s true")
	c.Advance(time.Nanosecond)
	expect("beyond the limit", m, "1m0.000000001s false")
	durable.Sever(false)
	loops.Poll()
	expect("unsure after a failure: all is to be read", m, "1m0.000000001s false")
	loops.Poll()
	expect("all was read", m, "0s true")
}

func TestNotifyHearsOfWhatIsNew(t *testing.T) {
	t.Parallel()
	push, durable := revocationtest.NewPush(), revocationtest.NewDurable()
	m := made(t, revocation.Options{Push: push, Durable: durable})
	var mu sync.Mutex
	var heard []revocation.Entry
	m.Notify(func(e revocation.Entry) {
		if !m.Revoked("", "u", 0) && !m.Revoked(e.Key, "", 0) {
			t.Error("told before it is refused")
		}
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, e)
	})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(heard)
	}
	run(t, m)
	e := revocation.Entry{Key: revocation.UserKey("u"), NotBefore: 5, Expires: hence(time.Hour)}
	revoke(t, m, e, e)
	e.NotBefore = 4
	revoke(t, m, e)
	if count() != 1 {
		t.Errorf("heard %v", heard)
	}
	e.NotBefore = 6
	if err := push.Publish(t.Context(), []revocation.Entry{e, session("by-push")}); err != nil {
		t.Fatal(err)
	}
	if err := durable.Save(t.Context(), []revocation.Entry{session("by-save")}); err != nil {
		t.Fatal(err)
	}
	revocationtest.Eventually(t, "four were heard", func() bool { return count() == 4 })
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	set := meter.NewSet(time.Now)
	push, durable := revocationtest.NewPush(), revocationtest.NewDurable()
	m := running(t, revocation.Options{Push: push, Durable: durable, Meter: set})
	revocationtest.Eventually(t, "in touch with both", func() bool {
		return strings.Contains(text(set), `gateway_revocation_resyncs_total{source="durable"} 1`) &&
			strings.Contains(text(set), `gateway_revocation_resyncs_total{source="push"} 1`)
	})
	revoke(t, m, session("s"))
	push.Delete("s")
	revocationtest.Eventually(t, "written again", func() bool {
		return strings.Contains(text(set), `gateway_revocation_repushed_total{source="push"} 1`)
	})
	durable.Sever(true)
	if m.Revoke(t.Context(), session("t")) == nil {
		t.Error("it is saved nowhere")
	}
	all := text(set)
	for _, want := range []string{
		"gateway_revocation_mirror_entries 2\n", "gateway_revocation_mirror_age_seconds ",
		`gateway_revocation_pushes_total{source="durable",outcome="ok"} 1` + "\n", `gateway_revocation_pushes_total{source="durable",outcome="error"} 1` + "\n",
		`gateway_revocation_pushes_total{source="push",outcome="ok"} 3` + "\n",
		"gateway_revocation_stays 0\n", `gateway_revocation_closed_total{reason="revoked"} 0` + "\n",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q", want)
		}
	}
	if age, ready := m.State(); age > time.Minute || !ready {
		t.Errorf("in touch, and yet its age is %s, ready %v", age, ready)
	}
}

func text(set *meter.Set) string {
	var b strings.Builder
	set.WritePrometheus(&b)
	return b.String()
}

func TestMemoryStores(t *testing.T) {
	t.Parallel()
	revocationtest.TestDurable(t, func(*testing.T) func() revocation.Durable {
		d := revocationtest.NewDurable()
		return func() revocation.Durable { return d }
	})
	revocationtest.TestPush(t, func(*testing.T) func() revocation.Push {
		p := revocationtest.NewPush()
		return func() revocation.Push { return p }
	})
}
