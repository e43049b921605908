// Package sessiontest holds what every store of sessions must do.
package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/session"
)

// start is when the sessions of the suite begin.
var start = time.Date(2027, 1, 15, 8, 0, 0, 123456000, time.UTC)

// many is a cap that nothing meets.
const many = 1000

// record is a session that has just begun.
func record(id, user string, created time.Time) session.Record {
	scopes, err := principal.NewScopes([]string{"courses", "vod:read"})
	if err != nil {
		panic(err)
	}
	return session.Record{Current: id + "-r0", Session: session.Session{
		ID: id, User: user, Client: "first-party", Scopes: scopes, Fingerprint: "print", Thumbprint: "thumb",
		Agent: "Firefox \"ü\"", Address: "2001:db8::1", Created: created, Used: created, Ends: created.Add(90 * 24 * time.Hour),
		LastExpiry: created.Add(7 * 24 * time.Hour),
	}}
}

// rotation is the n-th of a session.
func rotation(id string, n int, at time.Time) session.Rotation {
	return session.Rotation{
		Session: id, From: fmt.Sprintf("%s-r%d", id, n-1), To: fmt.Sprintf("%s-r%d", id, n), At: at,
		LastExpiry: at.Add(7 * 24 * time.Hour), Access: fmt.Sprintf("%s-a%d", id, n), Sealed: []byte{0, 1, 0xff, byte(n)},
	}
}

// suite is one test with a store of its own.
type suite struct {
	*testing.T
	store session.Store
}

func (s suite) begin(r session.Record, most int) []session.Session {
	s.Helper()
	ended, err := s.store.Begin(s.Context(), r, most)
	if err != nil {
		s.Fatalf("beginning %s: %v", r.ID, err)
	}
	return ended
}

func (s suite) load(id string) session.Record {
	s.Helper()
	r, err := s.store.Load(s.Context(), id)
	if err != nil {
		s.Fatalf("loading %s: %v", id, err)
	}
	return r
}

func (s suite) rotate(r session.Rotation) bool {
	s.Helper()
	done, err := s.store.Rotate(s.Context(), r)
	if err != nil {
		s.Fatalf("rotating: %v", err)
	}
	return done
}

func (s suite) end(which session.Selection, at time.Time) []session.Session {
	s.Helper()
	ended, err := s.store.End(s.Context(), which, at)
	if err != nil {
		s.Fatalf("ending %+v: %v", which, err)
	}
	return ended
}

// same compares; times by what they mean.
func (s suite) same(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// ids are those of sessions, in their order.
func ids(all []session.Session) []string {
	out := []string{}
	for i := range all {
		out = append(out, all[i].ID)
	}
	return out
}

// TestStore runs the suite against stores made by newStore, each of which is empty, or
// used by nobody else's users.
func TestStore(t *testing.T, newStore func(t *testing.T) session.Store) {
	for name, test := range map[string]func(suite){
		"begin and load": beginAndLoad, "cap": capped, "cap of many at once": cappedAtOnce,
		"rotate": rotate, "rotate in a race": rotateAtOnce, "seen": seen, "list": list, "end": end, "forget": forget,
	} {
		t.Run(name, func(t *testing.T) { test(suite{t, newStore(t)}) })
	}
}

func beginAndLoad(s suite) {
	if _, err := s.store.Load(s.Context(), "none"); !errors.Is(err, session.ErrUnknown) {
		s.Errorf("loading what is not there: %v", err)
	}
	r := record("s1", "u1", start)
	s.same("ended", ids(s.begin(r, many)), []string{})
	s.same("loaded", s.load("s1"), r)
	bare := session.Record{Current: "x", Session: session.Session{ID: "s2", User: "u1", Client: "c", Created: start, Used: start, Ends: start.Add(time.Hour), LastExpiry: start.Add(time.Hour)}}
	s.begin(bare, many)
	s.same("loaded bare", s.load("s2"), bare)
}

func capped(s suite) {
	for i := range 4 {
		s.same("ended", ids(s.begin(record(fmt.Sprint("s", i), "u1", start.Add(time.Duration(i)*time.Second)), 4)), []string{})
	}
	s.begin(record("other", "u2", start), 1)
	s.end(session.Selection{User: "u1", ID: "s1"}, start.Add(5*time.Second))
	s.same("one has ended", ids(s.begin(record("s4", "u1", start.Add(6*time.Second)), 4)), []string{})
	s.rotate(rotation("s0", 1, start.Add(7*time.Second)))
	at := start.Add(8 * time.Second)
	want := s.load("s0").Session
	s.same("the oldest ends, however it was used", s.begin(record("s5", "u1", at), 4), []session.Session{want})
	s.same("it is kept as ended", s.load("s0").Ended, at)
	if s.rotate(rotation("s0", 2, at)) {
		s.Error("an ended session was rotated")
	}
	ended := ids(s.begin(record("s6", "u1", at), 1))
	slices.Sort(ended)
	s.same("a lower cap", ended, []string{"s2", "s3", "s4", "s5"})
	short := record("s7", "u1", at)
	short.Ends = at.Add(time.Second)
	s.begin(short, many)
	s.same("what is over does not count", ids(s.begin(record("s8", "u1", at.Add(time.Minute)), 2)), []string{})
	s.same("another user", s.load("other").Ended.IsZero(), true)
}

func cappedAtOnce(s suite) {
	const begun, most = 24, 5
	var mu sync.Mutex
	ended := map[string]int{}
	var wait sync.WaitGroup
	for i := range begun {
		wait.Go(func() {
			gone, err := s.store.Begin(s.Context(), record(fmt.Sprint("s", i), "u1", start.Add(time.Duration(i))), most)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.Errorf("beginning: %v", err)
			}
			for _, id := range ids(gone) {
				ended[id]++
			}
		})
	}
	wait.Wait()
	living, err := s.store.List(s.Context(), "u1", start.Add(time.Second))
	if err != nil || len(living) != most || len(ended) != begun-most {
		s.Errorf("%d live and %d have ended of %d (%v)", len(living), len(ended), begun, err)
	}
	for id, times := range ended {
		if times != 1 {
			s.Errorf("%s has ended %d times", id, times)
		}
	}
}

func rotate(s suite) {
	s.begin(record("s1", "u1", start), many)
	at := start.Add(time.Minute)
	if s.rotate(rotation("s1", 2, at)) || s.rotate(rotation("none", 1, at)) {
		s.Error("rotated from a token that is not the current one")
	}
	want := record("s1", "u1", start)
	for n := 1; n <= 2; n++ {
		at := start.Add(time.Duration(n) * time.Minute)
		r := rotation("s1", n, at)
		if !s.rotate(r) || s.rotate(r) {
			s.Fatal("a token is rotated once")
		}
		want.Current, want.Used, want.LastExpiry = r.To, at, r.LastExpiry
		want.Grace = session.Grace{Parent: r.From, Since: at, Access: r.Access, Sealed: r.Sealed}
		s.same("rotated", s.load("s1"), want)
	}
	early := rotation("s1", 3, at)
	early.LastExpiry = start
	s.rotate(early)
	s.same("the last expiry", s.load("s1").LastExpiry, want.LastExpiry)
	late := rotation("s1", 4, want.Ends)
	if s.rotate(late) {
		s.Error("rotated at the end of its life")
	}
}

func rotateAtOnce(s suite) {
	s.begin(record("s1", "u1", start), many)
	var done atomic.Int32
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			r := rotation("s1", 1, start.Add(time.Second))
			r.To = fmt.Sprint("mine-", i)
			r.Sealed = []byte(r.To)
			ok, err := s.store.Rotate(s.Context(), r)
			if err != nil {
				s.Errorf("rotating: %v", err)
			}
			if ok {
				done.Add(1)
			}
		})
	}
	wait.Wait()
	r := s.load("s1")
	if done.Load() != 1 || string(r.Grace.Sealed) != r.Current {
		s.Errorf("%d have rotated; it is %s with the pair %s", done.Load(), r.Current, r.Grace.Sealed)
	}
}

func seen(s suite) {
	s.begin(record("s1", "u1", start), many)
	s.begin(record("s2", "u1", start), many)
	s.rotate(rotation("s1", 1, start))
	s.rotate(rotation("s2", 1, start))
	see := func(all ...session.Sighting) {
		if err := s.store.Seen(s.Context(), all); err != nil {
			s.Errorf("telling of sightings: %v", err)
		}
	}
	see()
	see(session.Sighting{Session: "s1", Access: "other"}, session.Sighting{Session: "none", Access: "s1-a1"}, session.Sighting{Session: "s2", Access: "s1-a1"})
	s.same("what was not seen", s.load("s1").Grace.Closed || s.load("s2").Grace.Closed, false)
	see(session.Sighting{Session: "none", Access: "x"}, session.Sighting{Session: "s1", Access: "s1-a1"}, session.Sighting{Session: "s1", Access: "s1-a1"})
	s.same("what was", s.load("s1").Grace, session.Grace{Parent: "s1-r0", Since: start, Access: "s1-a1", Closed: true})
	s.same("its neighbour", s.load("s2").Grace.Closed, false)
	s.rotate(rotation("s1", 2, start))
	s.same("the next grace is open", s.load("s1").Grace.Closed, false)
}

func list(s suite) {
	all, err := s.store.List(s.Context(), "nobody", start)
	if err != nil || len(all) != 0 {
		s.Errorf("nobody's: %v %v", all, err)
	}
	want := []session.Session{}
	for i := range 3 {
		r := record(fmt.Sprint("s", i), "u1", start.Add(time.Duration(i)*time.Second))
		r.Ends = start.Add(time.Duration(i+1) * time.Hour)
		s.begin(r, many)
		want = append(want, r.Session)
	}
	s.begin(record("other", "u2", start), many)
	all, err = s.store.List(s.Context(), "u1", start.Add(time.Minute))
	if err != nil {
		s.Fatal(err)
	}
	s.same("all, the oldest first", all, want)
	all, err = s.store.List(s.Context(), "u1", start.Add(time.Hour))
	if err != nil {
		s.Fatal(err)
	}
	s.same("an hour later", ids(all), []string{"s1", "s2"})
}

func end(s suite) {
	for i := range 4 {
		s.begin(record(fmt.Sprint("s", i), "u1", start.Add(time.Duration(i))), many)
	}
	s.begin(record("other", "u2", start), many)
	at := start.Add(time.Minute)
	s.rotate(rotation("s0", 1, at))
	want := s.load("s0")
	s.same("one", s.end(session.Selection{User: "u1", ID: "s0"}, at), []session.Session{want.Session})
	want.Ended, want.Grace = at, session.Grace{}
	s.same("kept", s.load("s0"), want)
	s.same("again", ids(s.end(session.Selection{User: "u1", ID: "s0"}, at.Add(time.Hour))), []string{})
	s.same("another user's", ids(s.end(session.Selection{User: "u2", ID: "s1"}, at)), []string{})
	got := map[string]bool{}
	for _, id := range ids(s.end(session.Selection{User: "u1", Except: "s2"}, at)) {
		got[id] = true
	}
	s.same("all others", got, map[string]bool{"s1": true, "s3": true})
	s.same("all", ids(s.end(session.Selection{User: "u1"}, at)), []string{"s2"})
	s.same("the other user", s.load("other").Ended.IsZero(), true)
}

func forget(s suite) {
	old, young := record("old", "u1", start), record("young", "u1", start)
	old.LastExpiry = start.Add(time.Hour)
	s.begin(old, many)
	s.begin(young, many)
	s.rotate(rotation("young", 1, start.Add(time.Minute)))
	do := func(at, graces time.Time) {
		if err := s.store.Forget(context.WithoutCancel(s.Context()), at, graces); err != nil {
			s.Errorf("forgetting: %v", err)
		}
	}
	do(start.Add(time.Hour), start.Add(time.Minute))
	s.same("all are there", s.load("old").ID+string(s.load("young").Grace.Sealed), "old"+string(rotation("", 1, start).Sealed))
	do(start.Add(time.Hour+time.Microsecond), start.Add(time.Minute+time.Microsecond))
	if _, err := s.store.Load(s.Context(), "old"); !errors.Is(err, session.ErrUnknown) {
		s.Errorf("it is over: %v", err)
	}
	g := s.load("young").Grace
	s.same("the pair is gone, the parent known", g, session.Grace{Parent: "young-r0", Since: g.Since, Access: "young-a1"})
	all, err := s.store.List(s.Context(), "u1", start)
	if err != nil {
		s.Fatal(err)
	}
	s.same("listed", ids(all), []string{"young"})
}
