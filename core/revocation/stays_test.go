package revocation_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/revocation"
)

// guest counts how often it was cut, and why.
type guest struct {
	stay    revocation.Stay
	cut     atomic.Int32
	because atomic.Int32
}

func (g *guest) Cut(why revocation.Why) {
	g.cut.Add(1)
	g.because.Store(int32(why))
}

// said is how a guest was cut.
func (g *guest) said() string {
	switch g.cut.Load() {
	case 0:
		return "stays"
	case 1:
		return revocation.Why(g.because.Load()).String()
	}
	return "cut twice"
}

func TestI21_WhoIsRevokedOrExpiresIsCut(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Unix(10_000, 0))
	m := made(t, revocation.Options{Clock: c})
	far := int64(20_000)
	foreign := []string{revocation.ForeignKey("i", "jti", "1"), revocation.ForeignKey("i", "sid", "2"), revocation.ForeignKey("i", "sid", "3"), revocation.ForeignKey("i", "sid", "3")}
	stays := map[string]revocation.Stay{
		"a1": {Session: "s1", User: "alice", Issued: 100, Expires: far},
		"a2": {Session: "s2", User: "alice", Issued: 200, Expires: 10_005},
		"a3": {Session: "s1", User: "alice", Issued: 300},
		"b1": {Session: "s3", User: "bob", Issued: 100, Expires: 10_005},
		"f1": {User: "partner:eve", Keys: foreign, Issued: 100, Expires: far},
		"f2": {User: "partner:eve", Keys: foreign[:1], Issued: 100, Expires: far},
		"no": {},
	}
	guests := map[string]*guest{}
	stripe := uint32(0)
	for name, s := range stays {
		stripe += 31
		g := &guest{stay: s}
		g.stay.Guest, g.stay.Stripe = g, stripe
		guests[name] = g
		m.Stays().Enter(&g.stay)
	}
	expect := func(what string, cut ...string) {
		t.Helper()
		for name, g := range guests {
			want := "stays"
			if at := slices.IndexFunc(cut, func(s string) bool { return s[:2] == name }); at >= 0 {
				want = cut[at][3:]
			}
			if got := g.said(); got != want {
				t.Errorf("%s: %s %s, want %s", what, name, got, want)
			}
		}
	}
	expect("at first")
	revoke(t, m, revocation.Entry{Key: revocation.UserKey("alice"), NotBefore: 150, Expires: far})
	expect("a user's older sessions", "a1 revoked")
	revoke(t, m, revocation.Entry{Key: "s1", Expires: far})
	cut := []string{"a1 revoked", "a3 revoked"}
	expect("a session", cut...)
	revoke(t, m, revocation.Entry{Key: foreign[2], Expires: far})
	cut = append(cut, "f1 revoked")
	expect("a foreign session", cut...)
	m.Stays().Leave(&guests["b1"].stay)
	m.Stays().Leave(&guests["b1"].stay)
	c.Advance(4 * time.Second)
	m.Stays().Expire()
	expect("before the end", cut...)
	c.Advance(time.Second)
	m.Stays().Expire()
	cut = append(cut, "a2 expired")
	expect("at the end", cut...)
	revoke(t, m, revocation.Entry{Key: revocation.UserKey("partner:eve"), Expires: far})
	cut = append(cut, "f2 revoked")
	expect("a user of another issuer", cut...)
	if n := m.Stays().Len(); n != 1 {
		t.Errorf("%d stay, want the one without a caller", n)
	}
}

func TestI21_WhoComesTooLateIsCutAtOnce(t *testing.T) {
	t.Parallel()
	m := made(t, revocation.Options{})
	revoke(t, m, session("s"))
	for want, stay := range map[string]revocation.Stay{
		"revoked": {Session: "s", Expires: 5},
		"expired": {Session: "t", Expires: time.Now().Unix()},
	} {
		g := &guest{stay: stay}
		g.stay.Guest = g
		m.Stays().Enter(&g.stay)
		if got := g.said(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	early := &guest{stay: revocation.Stay{Session: "s"}}
	early.stay.Guest = early
	m.Stays().Leave(&early.stay)
	m.Stays().Enter(&early.stay)
	if early.said() != "stays" || m.Stays().Len() != 0 {
		t.Error("one that had left entered")
	}
}

// Whoever enters while being revoked is cut, once, and nobody is cut after having left.
func TestI21_NobodySlipsThrough(t *testing.T) {
	t.Parallel()
	m := made(t, revocation.Options{})
	const rounds = 300
	var group sync.WaitGroup
	for i := range rounds {
		id := fmt.Sprintf("s%d", i)
		stay, leaver := &guest{}, &guest{}
		for _, g := range []*guest{stay, leaver} {
			g.stay = revocation.Stay{Guest: g, Session: id, User: "u", Stripe: uint32(i), Expires: hence(time.Hour)}
		}
		start := make(chan struct{})
		group.Go(func() { <-start; m.Stays().Enter(&stay.stay) })
		group.Go(func() {
			<-start
			m.Stays().Enter(&leaver.stay)
			m.Stays().Leave(&leaver.stay)
			cut := leaver.cut.Load()
			m.Take(session(id))
			if leaver.cut.Load() != cut {
				t.Error("cut after having left")
			}
		})
		group.Go(func() { <-start; m.Take(session(id)) })
		close(start)
		group.Wait()
		if stay.said() != "revoked" {
			t.Fatalf("round %d: %s", i, stay.said())
		}
	}
	if n := m.Stays().Len(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func TestWhys(t *testing.T) {
	t.Parallel()
	if got := revocation.Why(9).String(); got != "?" {
		t.Error(got)
	}
}

// TestI21_WhatAnAPIKeyOpenedIsCut with the key, and nothing else is; of one that comes too late
// the keys are asked.
func TestI21_WhatAnAPIKeyOpenedIsCut(t *testing.T) {
	t.Parallel()
	m := made(t, revocation.Options{})
	s := m.Stays()
	s.AskKeys(func(id string) bool { return id == "ended" })
	guests := map[string]*guest{}
	for i, stay := range []revocation.Stay{
		{APIKey: "k1"}, {APIKey: "k1", User: "ada", Issued: 1 << 40}, {APIKey: "k2"}, {Session: "k1"}, {APIKey: "ended"},
	} {
		g := &guest{stay: stay}
		g.stay.Guest, g.stay.Stripe = g, uint32(i)
		guests[fmt.Sprint(i)] = g
		s.Enter(&g.stay)
	}
	expect := func(want string) {
		t.Helper()
		got := ""
		for i := range len(guests) {
			got += guests[fmt.Sprint(i)].said() + " "
		}
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	expect("stays stays stays stays revoked ")
	keys := s.Keys()
	slices.Sort(keys)
	if !slices.Equal(keys, []string{"k1", "k2"}) || !s.HoldsKey("k1") || s.HoldsKey("k3") || s.HoldsKey("ended") {
		t.Errorf("keys %v", keys)
	}
	s.EndKey("k1")
	expect("revoked revoked stays stays revoked ")
	s.EndKey("k2")
	expect("revoked revoked revoked stays revoked ")
	if keys := s.Keys(); len(keys) > 0 || s.HoldsKey("k1") || s.Len() != 1 {
		t.Errorf("keys %v, %d stay", keys, s.Len())
	}
}
