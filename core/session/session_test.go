package session_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/session"
	"github.com/suuupra/gateway/core/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// signer numbers tokens; what it has issued can be shown again.
type signer struct {
	clock  clock.Clock
	mu     sync.Mutex
	issued map[string]*token.Verified
	err    error
}

func (s *signer) issue(kind string, g token.Grant, life time.Duration) (token.Signed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	expires := now.Add(life)
	if g.NotAfter.Before(expires) {
		expires = g.NotAfter
	}
	if !expires.After(now) {
		return token.Signed{}, fmt.Errorf("%w: the session is over", token.ErrExpired)
	}
	text := fmt.Sprintf("%s-%d", kind, len(s.issued))
	v := &token.Verified{
		Principal: principal.Principal{User: g.User, Client: g.Client, Session: g.Session, Scopes: g.Scopes},
		ID:        "id-" + text, IssuedAt: now.Unix(), Expires: expires.Unix(), Fingerprint: g.Fingerprint, Thumbprint: g.Thumbprint,
	}
	s.issued[text] = v
	return token.Signed{Token: text, ID: v.ID, IssuedAt: now, Expires: expires}, s.err
}

func (s *signer) Access(g token.Grant) (token.Signed, error)  { return s.issue("access", g, access) }
func (s *signer) Refresh(g token.Grant) (token.Signed, error) { return s.issue("refresh", g, refresh) }

// mirror is what is revoked.
type mirror struct {
	mu      sync.Mutex
	entries map[string]revocation.Entry
	err     error
}

func (m *mirror) Revoke(_ context.Context, entries ...revocation.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		m.entries[e.Key] = e
	}
	return m.err
}

func (m *mirror) Revoked(session, user string, issuedAt int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, one := m.entries[session]
	all, every := m.entries["user:"+user]
	return one || every && issuedAt < all.NotBefore
}

const (
	access   = 15 * time.Minute
	refresh  = 7 * 24 * time.Hour
	lifetime = 90 * 24 * time.Hour
	grace    = time.Minute
	leeway   = 5 * time.Second
)

var begun = time.Unix(1_800_000_000, 0)

// stand is sessions with all that they need.
type stand struct {
	*session.Sessions
	t     *testing.T
	clock *clock.Fake
	sign  *signer
	gone  *mirror
	store session.Store
}

// breaking is a store that fails where a test wants it.
type breaking struct {
	session.Store
	load, rotate, end, begin, seen, forget error
	before                                 func() // of Rotate
}

func (b *breaking) Begin(ctx context.Context, r session.Record, most int) ([]session.Session, error) {
	if b.begin != nil {
		return nil, b.begin
	}
	return b.Store.Begin(ctx, r, most)
}

func (b *breaking) Load(ctx context.Context, id string) (session.Record, error) {
	if b.load != nil {
		return session.Record{}, b.load
	}
	return b.Store.Load(ctx, id)
}

func (b *breaking) Rotate(ctx context.Context, r session.Rotation) (bool, error) {
	if b.before != nil {
		b.before()
	}
	if b.rotate != nil {
		return false, b.rotate
	}
	return b.Store.Rotate(ctx, r)
}

func (b *breaking) End(ctx context.Context, which session.Selection, at time.Time) ([]session.Session, error) {
	if b.end != nil {
		return nil, b.end
	}
	return b.Store.End(ctx, which, at)
}

func (b *breaking) Seen(ctx context.Context, all []session.Sighting) error {
	if b.seen != nil {
		return b.seen
	}
	return b.Store.Seen(ctx, all)
}

func (b *breaking) Forget(ctx context.Context, at, graces time.Time) error {
	if b.forget != nil {
		return b.forget
	}
	return b.Store.Forget(ctx, at, graces)
}

func newStand(t *testing.T, store session.Store) *stand {
	fake := clock.NewFake(begun)
	s := &stand{t: t, clock: fake, store: store,
		sign: &signer{clock: fake, issued: map[string]*token.Verified{}}, gone: &mirror{entries: map[string]revocation.Entry{}}}
	s.Sessions = s.instance()
	return s
}

// instance is another gateway with the same store and mirror.
func (s *stand) instance() *session.Sessions {
	return session.New(session.Options{Store: s.store, Signer: s.sign, Revocations: s.gone, Lifetime: lifetime, Grace: grace,
		Refresh: refresh, Leeway: leeway, PerUser: 3, Clock: s.clock, Log: zerolog.Nop()})
}

func memory() session.Store { return session.NewMemory(session.DefaultMemory) }

func scopes(t testing.TB, list ...string) principal.Scopes {
	s, err := principal.NewScopes(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stand) begin() session.Pair {
	s.t.Helper()
	p, err := s.Begin(s.t.Context(), session.Start{User: "u1", Client: "web", Scopes: scopes(s.t, "courses", "vod"), Fingerprint: "print", Thumbprint: "thumb", Agent: "agent", Address: "::1"})
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// shown is the refresh token of a pair, shown as it must be.
func (s *stand) shown(p session.Pair) session.Shown {
	s.sign.mu.Lock()
	defer s.sign.mu.Unlock()
	return session.Shown{Raw: []byte(p.Refresh.Token), Token: s.sign.issued[p.Refresh.Token], Fingerprint: "print", Thumbprint: "thumb", Scopes: scopes(s.t, "courses", "vod")}
}

func (s *stand) refresh(p session.Pair) session.Pair {
	s.t.Helper()
	next, err := s.Refresh(s.t.Context(), s.shown(p))
	if err != nil {
		s.t.Fatalf("refreshing: %v", err)
	}
	return next
}

// refused is a refresh that must fail with want.
func (s *stand) refused(name string, p session.Pair, want error) {
	s.t.Helper()
	if got, err := s.Refresh(s.t.Context(), s.shown(p)); !errors.Is(err, want) || got != (session.Pair{}) {
		s.t.Errorf("%s: %+v %v, want %v", name, got, err, want)
	}
}

// until polls; sessions are told of what is seen by another goroutine.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("in vain: " + what)
		}
	}
}

// run runs sessions until the test ends.
func run(t *testing.T, s *session.Sessions) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); wait.Wait() })
}

func TestID5_BeginAndRefresh(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	p := s.begin()
	if p.Scope != "courses vod" || p.Access.Expires != begun.Add(access) || p.Refresh.Expires != begun.Add(refresh) || len(p.Session) != 22 {
		t.Errorf("%+v", p)
	}
	s.clock.Advance(time.Hour)
	p = s.refresh(p)
	list, err := s.List(t.Context(), "u1")
	want := []session.Session{{
		ID: p.Session, User: "u1", Client: "web", Scopes: scopes(t, "courses", "vod"), Fingerprint: "print", Thumbprint: "thumb", Agent: "agent", Address: "::1",
		Created: begun, Used: begun.Add(time.Hour), Ends: begun.Add(lifetime), LastExpiry: begun.Add(time.Hour + refresh),
	}}
	if diff := cmp.Diff(want, list); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	v := s.sign.issued[p.Access.Token]
	if v.Fingerprint != "print" || v.Thumbprint != "thumb" || v.Principal.Session != p.Session || v.Principal.Client != "web" {
		t.Errorf("%+v", v)
	}
}

// Sliding, but not beyond the life of the session.
func TestI8_SessionsAreCappedInAge(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	p := s.begin()
	for s.clock.Now().Before(begun.Add(lifetime - 6*24*time.Hour)) {
		s.clock.Advance(6 * 24 * time.Hour)
		p = s.refresh(p)
	}
	if want := begun.Add(lifetime); p.Refresh.Expires != want || p.Access.Expires.After(want) {
		t.Errorf("issued beyond the end of the session: %+v", p)
	}
	s.clock.Advance(6*24*time.Hour - 1)
	s.refresh(p)
	s.clock.Advance(1)
	s.refused("at its end", p, session.ErrExpired)
}

func TestI8_SessionsAreCappedInNumber(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	var all []session.Pair
	for range 4 {
		all = append(all, s.begin())
		s.clock.Advance(time.Second)
	}
	s.refused("the oldest", all[0], session.ErrUnknown)
	if e := s.gone.entries[all[0].Session]; len(s.gone.entries) != 1 || e.Expires != all[0].Refresh.Expires.Add(leeway+time.Minute).Unix() || e.NotBefore != 0 {
		t.Errorf("revoked: %+v", s.gone.entries)
	}
	s.refresh(all[1])
	// That the revocation can't be kept hinders no login.
	s.gone.err = revocation.ErrNotDurable
	s.begin()
}

func TestI8_OnlyTheScopesThatTheUserHasToday(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	shown := s.shown(s.begin())
	shown.Scopes = scopes(t, "courses:read", "payments")
	p, err := s.Refresh(t.Context(), shown)
	if err != nil || p.Scope != "courses:read" || !s.sign.issued[p.Access.Token].Principal.Scopes.Equal(scopes(t, "courses:read")) {
		t.Errorf("%+v %v", p, err)
	}
	if p = s.refresh(p); p.Scope != "courses vod" {
		t.Errorf("what was granted at login is forgotten: %q", p.Scope)
	}
}

func TestI8_GraceGivesTheSamePair(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	first := s.begin()
	second := s.refresh(first)
	s.clock.Advance(grace - 1)
	again, err := s.instance().Refresh(t.Context(), s.shown(first))
	if err != nil || again.Access.Token != second.Access.Token || again.Refresh.Token != second.Refresh.Token ||
		!again.Access.Expires.Equal(second.Access.Expires) || !again.Refresh.IssuedAt.Equal(second.Refresh.IssuedAt) || again.Scope != second.Scope || again.Session != second.Session {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, again, second)
	}
	s.clock.Advance(1)
	s.refused("when the grace is over", first, session.ErrReused)
	s.refused("the family", second, session.ErrUnknown)
	s.refused("once more", first, session.ErrUnknown)
	if e := s.gone.entries[first.Session]; e.Expires != second.Refresh.Expires.Add(leeway+time.Minute).Unix() {
		t.Errorf("revoked: %+v", s.gone.entries)
	}
}

func TestI8_GraceEndsWhenTheSuccessorRefreshes(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	first := s.begin()
	third := s.refresh(s.refresh(first))
	s.refused("the grandparent", first, session.ErrReused)
	s.refused("the family", third, session.ErrUnknown)
}

func TestI8_GraceEndsWhenTheSuccessorIsSeen(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	for name, see := range map[string]*session.Sessions{"here": s.Sessions, "at another instance": s.instance()} {
		run(t, see)
		first := s.begin()
		second := s.refresh(first)
		see.Seen(first.Session, first.Access.ID, begun.Unix()) // what is older says nothing
		s.refresh(first)
		see.Seen(second.Session, second.Access.ID, begun.Unix())
		if name != "here" {
			until(t, "the store is told", func() bool {
				r, err := s.store.Load(t.Context(), first.Session)
				return err == nil && r.Grace.Closed
			})
		}
		s.refused(name, first, session.ErrReused)
		s.refused(name+", the family", second, session.ErrUnknown)
	}
}

// known verifies what a signer has issued.
type known struct{ *signer }

func (k known) Access(raw []byte) (*token.Verified, error) {
	if v := k.issued[string(raw)]; v != nil {
		return v, nil
	}
	return nil, token.ErrInvalid
}

func TestI8_WhoVerifiesTells(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	tokens := s.Watching(known{s.sign})
	first := s.begin()
	second := s.refresh(first)
	if v, err := tokens.Access([]byte("unknown")); v != nil || !errors.Is(err, token.ErrInvalid) {
		t.Errorf("%v %v", v, err)
	}
	foreign := *s.sign.issued[second.Access.Token]
	foreign.Principal.Issuer = "partner"
	s.sign.issued["foreign"] = &foreign
	for _, raw := range []string{"foreign", first.Access.Token} {
		if _, err := tokens.Access([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		s.refresh(first)
	}
	if v, err := tokens.Access([]byte(second.Access.Token)); err != nil || v.ID != second.Access.ID {
		t.Fatalf("%v %v", v, err)
	}
	s.refused("its successor was seen", first, session.ErrReused)
}

// What was issued before any open grace began is not looked at.
func TestI8_OldTokensAreNotLookedAt(t *testing.T) {
	t.Parallel()
	b := &breaking{Store: memory()}
	s := newStand(t, b)
	run(t, s.Sessions)
	until(t, "the horizon stands", func() bool { return s.clock.Armed() == 1 })
	first := s.begin()
	second := s.refresh(first)
	s.Seen(second.Session, second.Access.ID, begun.Add(-grace-3*time.Second).Unix())
	s.refresh(first)
	s.Seen("", second.Access.ID, begun.Unix()) // of no session
	s.refresh(first)
}

func TestI8_OnlyForTheSameBinding(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	first := s.begin()
	for range 2 { // before its first use, and within the grace
		for _, change := range []func(*session.Shown){
			func(x *session.Shown) { x.Fingerprint = "" }, func(x *session.Shown) { x.Thumbprint = "" },
			func(x *session.Shown) { x.Fingerprint = "other" }, func(x *session.Shown) { x.Thumbprint = "other" },
		} {
			shown := s.shown(first)
			change(&shown)
			if p, err := s.Refresh(t.Context(), shown); !errors.Is(err, session.ErrUnbound) || p != (session.Pair{}) {
				t.Errorf("%+v %v", p, err)
			}
		}
		s.refresh(first)
	}
}

// Who reads the store finds no token in it, and what he swaps opens for nobody.
func TestI8_ThePairIsSealed(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	first, other := s.begin(), s.begin()
	second := s.refresh(first)
	s.refresh(other)
	r, err := s.store.Load(t.Context(), first.Session)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{first.Refresh.Token, second.Refresh.Token, second.Access.Token} {
		if strings.Contains(string(r.Grace.Sealed), secret) {
			t.Errorf("%s lies open", secret)
		}
	}
	shown := s.shown(first)
	shown.Raw = []byte("another token with the same id")
	if p, err := s.Refresh(t.Context(), shown); err == nil || p != (session.Pair{}) {
		t.Errorf("opened by another token: %+v", p)
	}
	for i := range r.Grace.Sealed {
		swapped := slices.Clone(r.Grace.Sealed)
		swapped[i] ^= 1
		shown := s.shown(first)
		forged := newStand(t, forging{memory(), r, swapped})
		if p, err := forged.Refresh(t.Context(), shown); err == nil {
			t.Fatalf("byte %d is changed: %+v", i, p)
		}
	}
}

// forging is a store that says what it wants.
type forging struct {
	session.Store
	record session.Record
	sealed []byte
}

func (f forging) Load(context.Context, string) (session.Record, error) {
	f.record.Grace.Sealed = f.sealed
	return f.record, nil
}

// race has callers show one refresh token at once, half of them at another instance.
func race(t *testing.T, s *stand, p session.Pair) (pairs map[session.Pair]int, failed []error) {
	t.Helper()
	const callers = 50
	var mu sync.Mutex
	pairs = map[session.Pair]int{}
	instances := []*session.Sessions{s.Sessions, s.instance()}
	shown, start := s.shown(p), make(chan struct{})
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			<-start
			got, err := instances[i%2].Refresh(t.Context(), shown)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, err)
				return
			}
			// Times that came through the seal are equal, and not the same.
			got.Access.IssuedAt, got.Access.Expires = got.Access.IssuedAt.UTC(), got.Access.Expires.UTC()
			got.Refresh.IssuedAt, got.Refresh.Expires = got.Refresh.IssuedAt.UTC(), got.Refresh.Expires.UTC()
			pairs[got]++
		})
	}
	close(start)
	wait.Wait()
	return pairs, failed
}

func TestI8_FiftyCallersOneToken(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	p := s.begin()
	for range 20 {
		pairs, failed := race(t, s, p)
		if len(pairs) != 1 || len(failed) != 0 {
			t.Fatalf("%d pairs were issued and %d callers refused (%v), want one and none", len(pairs), len(failed), failed)
		}
		for next, n := range pairs {
			if p = next; n != 50 {
				t.Fatalf("%d have it", n)
			}
		}
	}
	list, err := s.List(t.Context(), "u1")
	if err != nil || len(list) != 1 || len(s.gone.entries) != 0 {
		t.Errorf("the family: %v %v, revoked %v", list, err, s.gone.entries)
	}
	s.refresh(p)
}

// A token that is too old kills the family once, however many show it.
func TestI8_FiftyThieves(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	first := s.begin()
	second := s.refresh(first)
	s.clock.Advance(grace)
	pairs, failed := race(t, s, first)
	if len(pairs) != 0 {
		t.Fatalf("%v", pairs)
	}
	for _, err := range failed {
		if !errors.Is(err, session.ErrReused) && !errors.Is(err, session.ErrUnknown) {
			t.Error(err)
		}
	}
	s.refused("the family", second, session.ErrUnknown)
}

func TestI8_ARotationThatOvertakes(t *testing.T) {
	t.Parallel()
	b := &breaking{Store: memory()}
	s := newStand(t, b)
	first := s.begin()
	var second session.Pair
	other := s.instance()
	b.before = func() {
		b.before = nil
		var err error
		if second, err = other.Refresh(t.Context(), s.shown(first)); err != nil {
			t.Error(err)
		}
	}
	if got := s.refresh(first); got.Access.Token != second.Access.Token {
		t.Errorf("%+v is not the pair of who was faster", got)
	}
	// A session that ends meanwhile stays ended.
	b.before = func() {
		b.before = nil
		if err := s.End(t.Context(), "u1", first.Session); err != nil {
			t.Error(err)
		}
	}
	s.refused("ended meanwhile", second, session.ErrUnknown)
	// A store that never agrees is no reason to hang.
	third := s.begin()
	b.Store = stubborn{b.Store}
	s.refused("a store that changes all the time", third, session.ErrUnavailable)
}

// Of many who refresh at once at one instance, one signs.
func TestI8_OneSignsForAll(t *testing.T) {
	t.Parallel()
	b := &breaking{Store: memory()}
	s := newStand(t, b)
	p := s.begin()
	entered, leave := make(chan struct{}), make(chan struct{})
	b.before = func() { close(entered); <-leave }
	var wait sync.WaitGroup
	wait.Go(func() { s.refresh(p) })
	<-entered
	b.before = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Refresh(ctx, s.shown(p)); !errors.Is(err, session.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("who does not wait: %v", err)
	}
	for range 20 {
		wait.Go(func() { s.refresh(p) })
	}
	close(leave)
	wait.Wait()
	if n := len(s.sign.issued); n != 4 {
		t.Errorf("%d tokens were signed, want those of a login and of a refresh", n)
	}
}

// stubborn never rotates.
type stubborn struct{ session.Store }

func (stubborn) Rotate(context.Context, session.Rotation) (bool, error) { return false, nil }

func TestI5_HowFarARevocationReaches(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	p := s.begin()
	s.clock.Advance(time.Hour)
	p = s.refresh(p)
	if err := s.End(t.Context(), "u1", p.Session); err != nil {
		t.Fatal(err)
	}
	want := map[string]revocation.Entry{p.Session: {Key: p.Session, Expires: begun.Add(time.Hour + refresh + leeway + time.Minute).Unix()}}
	if diff := cmp.Diff(want, s.gone.entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	a, b := s.begin(), s.begin()
	clear(s.gone.entries)
	if err := s.EndOthers(t.Context(), "u1", b.Session); err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(maps.Keys(s.gone.entries)); !slices.Equal(got, []string{a.Session}) {
		t.Errorf("ended others: %v, want %s", got, a.Session)
	}
	if err := s.EndAll(t.Context(), "u1"); err != nil {
		t.Fatal(err)
	}
	now := s.clock.Now()
	if e := s.gone.entries["user:u1"]; e.NotBefore != now.Unix() || e.Expires != now.Add(refresh+leeway+time.Minute).Unix() {
		t.Errorf("%+v", e)
	}
	s.refused("ended by all", b, session.ErrUnknown)
	if _, revoked := s.gone.entries[b.Session]; !revoked {
		t.Error("what was issued in this very second is not revoked")
	}
}

// A refresh that comes between revoking and ending moves the last expiry.
func TestI5_ARefreshWhileItEnds(t *testing.T) {
	t.Parallel()
	b := &breaking{Store: memory()}
	s := newStand(t, b)
	p := s.begin()
	s.clock.Advance(time.Hour)
	late := late{b.Store, func() {
		if _, err := b.Store.Rotate(t.Context(), session.Rotation{Session: p.Session, From: p.Refresh.ID, To: "x", At: s.clock.Now(), LastExpiry: s.clock.Now().Add(refresh)}); err != nil {
			t.Error(err)
		}
	}}
	b.Store = late
	if err := s.End(t.Context(), "", p.Session); err != nil {
		t.Fatal(err)
	}
	if e := s.gone.entries[p.Session]; e.Expires != begun.Add(time.Hour+refresh+leeway+time.Minute).Unix() {
		t.Errorf("it is forgotten before the token that was issued meanwhile: %+v", e)
	}
}

// late does something just before a session ends.
type late struct {
	session.Store
	before func()
}

func (l late) End(ctx context.Context, which session.Selection, at time.Time) ([]session.Session, error) {
	l.before()
	return l.Store.End(ctx, which, at)
}

func TestID5_End(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	p := s.begin()
	v := s.shown(p).Token
	for _, c := range []struct{ user, id string }{{"u2", p.Session}, {"u1", "none"}, {"", "none"}} {
		if err := s.End(t.Context(), c.user, c.id); !errors.Is(err, session.ErrUnknown) {
			t.Errorf("%v: %v", c, err)
		}
	}
	s.refresh(p)
	for range 2 {
		if err := s.End(t.Context(), "u1", p.Session); err != nil {
			t.Errorf("ending twice is fine: %v", err)
		}
	}
	// Nothing is known any more: its tokens are refused all the same.
	s.clock.Advance(refresh + access)
	if err := s.store.Forget(t.Context(), s.clock.Now(), s.clock.Now()); err != nil {
		t.Fatal(err)
	}
	clear(s.gone.entries)
	if err := s.EndOf(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	if e := s.gone.entries[p.Session]; e.Expires != s.clock.Now().Add(refresh+leeway+time.Minute).Unix() {
		t.Errorf("%+v", s.gone.entries)
	}
}

func TestI6_EndingIsDurableOrFails(t *testing.T) {
	t.Parallel()
	b := &breaking{Store: memory()}
	s := newStand(t, b)
	p := s.begin()
	s.gone.err = fmt.Errorf("asking: %w", revocation.ErrNotDurable)
	if err := s.End(t.Context(), "u1", p.Session); !errors.Is(err, revocation.ErrNotDurable) {
		t.Errorf("not durable: %v", err)
	}
	if r, err := s.store.Load(t.Context(), p.Session); err != nil || r.Ended.IsZero() {
		t.Errorf("it has ended all the same: %+v %v", r, err)
	}
	for name, err := range map[string]error{"all": s.EndAll(t.Context(), "u1"), "again": s.End(t.Context(), "u1", p.Session)} {
		if !errors.Is(err, revocation.ErrNotDurable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A stolen token is not answered before its family is dead for all.
	p = s.begin()
	s.refresh(s.refresh(p))
	s.gone.err = revocation.ErrNotDurable
	s.refused("reuse", p, session.ErrUnavailable)
	s.gone.err = nil
	s.refused("reuse, later", p, session.ErrUnknown)

	p = s.begin()
	b.end = session.ErrUnavailable
	for name, err := range map[string]error{
		"one": s.End(t.Context(), "u1", p.Session), "all": s.EndAll(t.Context(), "u1"), "others": s.EndOthers(t.Context(), "u1", ""),
	} {
		if !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("%s without the store: %v", name, err)
		}
	}
	b.end = nil
	s.refused("what is revoked can't be refreshed, though it has not ended", p, session.ErrUnknown)
}

func TestID5_StoreAway(t *testing.T) {
	t.Parallel()
	b := &breaking{Store: memory()}
	s := newStand(t, b)
	p := s.begin()
	b.load = session.ErrUnavailable
	s.refused("loading", p, session.ErrUnavailable)
	if err := s.EndOf(t.Context(), s.shown(p).Token); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("ending: %v", err)
	}
	b.load, b.rotate = nil, session.ErrUnavailable
	s.refused("rotating", p, session.ErrUnavailable)
	b.rotate, b.begin = nil, session.ErrUnavailable
	if _, err := s.Begin(t.Context(), session.Start{User: "u1", Client: "web"}); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("beginning: %v", err)
	}
	s.sign.err = errors.New("no key")
	s.refused("signing", p, s.sign.err)
	if _, err := s.Begin(t.Context(), session.Start{User: "u1", Client: "web"}); !errors.Is(err, s.sign.err) {
		t.Errorf("signing: %v", err)
	}
	s.sign.err = nil
	s.refresh(p) // nothing is lost
}

// counting counts what it is told of sightings.
type counting struct {
	session.Store
	seen chan session.Sighting
}

func (c counting) Seen(ctx context.Context, all []session.Sighting) error {
	for _, s := range all {
		c.seen <- s
	}
	return c.Store.Seen(ctx, all)
}

// What a login has issued opens no grace: the store hears of a refresh alone, and once.
func TestI8_TheStoreHearsLittle(t *testing.T) {
	t.Parallel()
	c := counting{memory(), make(chan session.Sighting, 100)}
	s := newStand(t, c)
	p := s.begin()
	next := s.refresh(p)
	for range 10 {
		s.Seen(p.Session, p.Access.ID, begun.Unix())
		s.Seen(next.Session, next.Access.ID, begun.Unix())
	}
	run(t, s.Sessions)
	if got := <-c.seen; got != (session.Sighting{Session: next.Session, Access: next.Access.ID}) {
		t.Errorf("%+v", got)
	}
	until(t, "the grace is closed", func() bool {
		r, err := s.store.Load(t.Context(), p.Session)
		return err == nil && r.Grace.Closed
	})
	if n := len(c.seen); n != 0 {
		t.Errorf("%d more", n)
	}
}

func TestRunForgets(t *testing.T) {
	t.Parallel()
	b := &breaking{Store: memory(), forget: session.ErrUnavailable, seen: session.ErrUnavailable}
	s := newStand(t, b)
	run(t, s.Sessions)
	p := s.begin()
	s.refresh(p)
	s.Seen(p.Session, "x", begun.Unix()) // nobody takes it: that is told, and no more
	turn := func() {
		until(t, "it waits", func() bool { return s.clock.Armed() == 1 })
		s.clock.Advance(time.Minute)
		until(t, "it waits again", func() bool { return s.clock.Armed() == 1 })
	}
	turn()
	b.forget = nil
	s.clock.Advance(refresh + time.Hour)
	until(t, "the session is forgotten", func() bool {
		turn()
		_, err := s.store.Load(t.Context(), p.Session)
		return errors.Is(err, session.ErrUnknown)
	})
}

func TestI8_AFullQueueOfSightingsIsNoBlock(t *testing.T) {
	t.Parallel()
	s := newStand(t, memory())
	for i := range 10_000 { // nobody takes them
		s.Seen("s", fmt.Sprint(i), begun.Unix())
	}
}
