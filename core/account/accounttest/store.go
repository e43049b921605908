package accounttest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/setting"
)

// TestStore runs the suite; newStore returns an empty store each time.
func TestStore(t *testing.T, newStore func(*testing.T) account.Store) {
	for name, test := range map[string]func(*testing.T, account.Store){
		"users are found as they were made":            testUsers,
		"id and e-mail are taken once":                 testTaken,
		"users are listed in pages":                    testList,
		"nobody is changed":                            testNobody,
		"a password changes if it is still the old":    testPassword,
		"a user is switched off and on":                testActive,
		"I13 a factor is in force once confirmed":      testFactor,
		"I13 a step is used up, and those before":      testSteps,
		"I13 a recovery code is good once":             testRecovery,
		"I13 of many who show a code, one goes on":     testSpendRace,
		"of many who take an e-mail, one has it":       testInsertRace,
		"of many who change a password, one does":      testPasswordRace,
		"I13 of many who confirm, one does":            testConfirmRace,
		"texts are kept as they are":                   testTexts,
		"a caller who is gone gets no wrong answer":    testCancelled,
		"what was removed is gone, and can come again": testRemove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStore(t))
		})
	}
}

// User returns a record for that name, with a scope and an hour-old time.
func User(t *testing.T, name string) account.Record {
	t.Helper()
	scopes, err := principal.NewScopes([]string{"courses:read", "vod"})
	if err != nil {
		t.Fatal(err)
	}
	return account.Record{
		User: account.User{ID: "id-" + name, Email: name + "@example.com", Scopes: scopes, Active: true,
			Created: time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)},
		Hash: setting.NewSecret("hash of " + name),
	}
}

func inserted(t *testing.T, s account.Store, name string) account.Record {
	t.Helper()
	r := User(t, name)
	if err := s.Insert(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// same fails the test unless the store has the user as want.
func same(t *testing.T, s account.Store, want account.Record) {
	t.Helper()
	for how, find := range map[string]func() (account.Record, error){
		"by id":     func() (account.Record, error) { return s.ByID(t.Context(), want.ID) },
		"by e-mail": func() (account.Record, error) { return s.ByEmail(t.Context(), want.Email) },
	} {
		got, err := find()
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		if diff := cmp.Diff(plain(want), plain(got), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", how, diff)
		}
	}
}

// flat is a record as it can be compared and shown.
type flat struct {
	ID, Email, Scopes, Hash, Plain string
	Active, MFA                    bool
	Created                        time.Time
	Sealed                         []byte
	Step                           int64
}

func plain(r account.Record) flat {
	return flat{r.ID, r.Email, r.Scopes.String(), r.Hash.Reveal(), r.Factor.Plain.Reveal(), r.Active, r.MFA, r.Created.UTC(), r.Factor.Sealed, r.Factor.Step}
}

func wants(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func testUsers(t *testing.T, s account.Store) {
	same(t, s, inserted(t, s, "ann"))
	off := User(t, "bob")
	off.Active, off.Scopes = false, principal.Scopes{}
	if err := s.Insert(t.Context(), off); err != nil {
		t.Fatal(err)
	}
	same(t, s, off)
	_, err := s.ByEmail(t.Context(), "ANN@example.com")
	wants(t, "another spelling", err, account.ErrNoUser)
	_, err = s.ByID(t.Context(), "id-nobody")
	wants(t, "another id", err, account.ErrNoUser)
}

func testTaken(t *testing.T, s account.Store) {
	ann := inserted(t, s, "ann")
	sameID, sameEmail := User(t, "bob"), User(t, "ann")
	sameID.ID, sameEmail.ID = ann.ID, "id-other"
	wants(t, "the id", s.Insert(t.Context(), sameID), account.ErrExists)
	wants(t, "the e-mail", s.Insert(t.Context(), sameEmail), account.ErrExists)
	same(t, s, ann)
	_, err := s.ByID(t.Context(), "id-other")
	wants(t, "who was refused", err, account.ErrNoUser)
}

func testList(t *testing.T, s account.Store) {
	var want []string
	for i := range 7 {
		want = append(want, inserted(t, s, fmt.Sprintf("user%d", i)).ID)
	}
	upper := User(t, "upper")
	upper.ID = "ID-upper" // by bytes it comes first, whatever the locale of a database
	if err := s.Insert(t.Context(), upper); err != nil {
		t.Fatal(err)
	}
	want = append([]string{"ID-upper"}, want...)
	var got []string
	for after := ""; ; {
		page, err := s.List(t.Context(), after, 3)
		if err != nil || len(page) > 3 {
			t.Fatalf("%d users, %v", len(page), err)
		}
		for _, u := range page {
			got = append(got, u.ID)
		}
		if len(page) < 3 {
			break
		}
		after = page[2].ID
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	all, err := s.List(t.Context(), want[6], 100)
	if err != nil || len(all) != 1 || all[0].Email != "user6@example.com" || all[0].Scopes.String() != "courses:read vod" || !all[0].Active {
		t.Errorf("the last user is %+v, %v", all, err)
	}
}

func testNobody(t *testing.T, s account.Store) {
	ctx, none := t.Context(), "id-none"
	ann := inserted(t, s, "ann")
	wants(t, "SetPassword", s.SetPassword(ctx, none, ann.Hash, setting.NewSecret("new")), account.ErrNoUser)
	wants(t, "SetActive", s.SetActive(ctx, none, false), account.ErrNoUser)
	wants(t, "Enrol", s.Enrol(ctx, none, []byte("s")), account.ErrNoUser)
	wants(t, "Confirm", s.Confirm(ctx, none, account.Confirmation{Sealed: []byte("s"), Step: 1}), account.ErrNoUser)
	wants(t, "Remove", s.Remove(ctx, none), account.ErrNoUser)
	if _, err := s.Spend(ctx, none, account.Code{Step: 1}); !errors.Is(err, account.ErrNoUser) {
		t.Errorf("Spend: %v", err)
	}
	same(t, s, ann)
}

func testPassword(t *testing.T, s account.Store) {
	ann, bob := inserted(t, s, "ann"), inserted(t, s, "bob")
	now := setting.NewSecret("hash of the new one")
	wants(t, "not the old one", s.SetPassword(t.Context(), ann.ID, setting.NewSecret("other"), now), account.ErrChanged)
	same(t, s, ann)
	if err := s.SetPassword(t.Context(), ann.ID, ann.Hash, now); err != nil {
		t.Fatal(err)
	}
	wants(t, "once more", s.SetPassword(t.Context(), ann.ID, ann.Hash, now), account.ErrChanged)
	ann.Hash = now
	same(t, s, ann)
	same(t, s, bob)
}

func testActive(t *testing.T, s account.Store) {
	ann, bob := inserted(t, s, "ann"), inserted(t, s, "bob")
	for _, active := range []bool{false, false, true, true} {
		if err := s.SetActive(t.Context(), ann.ID, active); err != nil {
			t.Fatal(err)
		}
		ann.Active = active
		same(t, s, ann)
	}
	same(t, s, bob)
}

func testFactor(t *testing.T, s account.Store) {
	ctx, ann := t.Context(), inserted(t, s, "ann")
	confirm := func(sealed string) error {
		return s.Confirm(ctx, ann.ID, account.Confirmation{Sealed: []byte(sealed), Step: 7})
	}
	wants(t, "nothing to confirm", confirm("first"), account.ErrNotEnrolled)
	wants(t, "not even nothing", confirm(""), account.ErrNotEnrolled)
	for _, sealed := range []string{"first", "second"} {
		if err := s.Enrol(ctx, ann.ID, []byte(sealed)); err != nil {
			t.Fatal(err)
		}
		ann.Factor.Sealed = []byte(sealed)
		same(t, s, ann)
	}
	if fresh, err := s.Spend(ctx, ann.ID, account.Code{Step: 99}); fresh || err != nil {
		t.Errorf("a code of a factor that is not in force: %v, %v", fresh, err)
	}
	wants(t, "the replaced secret", confirm("first"), account.ErrNotEnrolled)
	if err := confirm("second"); err != nil {
		t.Fatal(err)
	}
	ann.MFA, ann.Factor.Step = true, 7
	same(t, s, ann)
	wants(t, "again", confirm("second"), account.ErrNotEnrolled)
	wants(t, "a new secret in place of one in force", s.Enrol(ctx, ann.ID, []byte("third")), account.ErrEnrolled)
	same(t, s, ann)
	list, err := s.List(ctx, "", 10)
	if err != nil || len(list) != 1 || !list[0].MFA {
		t.Errorf("listed as %+v, %v", list, err)
	}
}

// enrolled makes a user whose second factor is in force since step 100.
func enrolled(t *testing.T, s account.Store, recovery ...[]byte) account.Record {
	t.Helper()
	ann := inserted(t, s, "ann")
	if err := s.Enrol(t.Context(), ann.ID, []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	c := account.Confirmation{Sealed: []byte("sealed"), Step: 100, Recovery: recovery}
	if err := s.Confirm(t.Context(), ann.ID, c); err != nil {
		t.Fatal(err)
	}
	ann.MFA, ann.Factor = true, account.Factor{Sealed: []byte("sealed"), Step: 100}
	return ann
}

func testSteps(t *testing.T, s account.Store) {
	ann := enrolled(t, s)
	for _, c := range []struct {
		step  int64
		fresh bool
	}{{99, false}, {100, false}, {101, true}, {101, false}, {100, false}, {103, true}, {102, false}, {104, true}} {
		fresh, err := s.Spend(t.Context(), ann.ID, account.Code{Step: c.step})
		if err != nil || fresh != c.fresh {
			t.Errorf("step %d: %v, %v; want %v", c.step, fresh, err, c.fresh)
		}
	}
	ann.Factor.Step = 104
	same(t, s, ann)
}

func testRecovery(t *testing.T, s account.Store) {
	first, second, other := []byte("hash 1"), []byte("hash 2"), []byte("hash 3")
	ann := enrolled(t, s, first, second)
	for _, c := range []struct {
		hash  []byte
		fresh bool
	}{{other, false}, {first, true}, {first, false}, {second, true}, {second, false}, {[]byte{}, false}} {
		fresh, err := s.Spend(t.Context(), ann.ID, account.Code{Recovery: c.hash})
		if err != nil || fresh != c.fresh {
			t.Errorf("%q: %v, %v; want %v", c.hash, fresh, err, c.fresh)
		}
	}
	same(t, s, ann)
}

// race calls f at once from many, and returns how often it was true.
func race(f func(i int) bool) int {
	var won atomic.Int64
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range 50 {
		all.Go(func() {
			<-start
			if f(i) {
				won.Add(1)
			}
		})
	}
	close(start)
	all.Wait()
	return int(won.Load())
}

func testSpendRace(t *testing.T, s account.Store) {
	ann := enrolled(t, s, []byte("hash"))
	for what, code := range map[string]account.Code{"step": {Step: 101}, "recovery code": {Recovery: []byte("hash")}} {
		if n := race(func(int) bool {
			fresh, err := s.Spend(t.Context(), ann.ID, code)
			if err != nil {
				t.Error(err)
			}
			return fresh
		}); n != 1 {
			t.Errorf("one %s was good %d times", what, n)
		}
	}
}

func testInsertRace(t *testing.T, s account.Store) {
	if n := race(func(i int) bool {
		r := User(t, "ann")
		r.ID = fmt.Sprint("id-", i)
		err := s.Insert(t.Context(), r)
		if err != nil {
			wants(t, "a late one", err, account.ErrExists)
		}
		return err == nil
	}); n != 1 {
		t.Errorf("%d users have one e-mail", n)
	}
}

func testPasswordRace(t *testing.T, s account.Store) {
	ann := inserted(t, s, "ann")
	if n := race(func(i int) bool {
		err := s.SetPassword(t.Context(), ann.ID, ann.Hash, setting.NewSecret(fmt.Sprint("new ", i)))
		if err != nil {
			wants(t, "a late one", err, account.ErrChanged)
		}
		return err == nil
	}); n != 1 {
		t.Errorf("%d passwords were set in place of one", n)
	}
}

func testConfirmRace(t *testing.T, s account.Store) {
	ann := inserted(t, s, "ann")
	if err := s.Enrol(t.Context(), ann.ID, []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	if n := race(func(i int) bool {
		c := account.Confirmation{Sealed: []byte("sealed"), Step: int64(i) + 1, Recovery: [][]byte{{byte(i)}}}
		err := s.Confirm(t.Context(), ann.ID, c)
		if err != nil {
			wants(t, "a late one", err, account.ErrNotEnrolled)
		}
		return err == nil
	}); n != 1 {
		t.Errorf("%d confirmed one secret", n)
	}
	good := 0
	for i := range 50 {
		if fresh, err := s.Spend(t.Context(), ann.ID, account.Code{Recovery: []byte{byte(i)}}); err != nil {
			t.Error(err)
		} else if fresh {
			good++
		}
	}
	if good != 1 {
		t.Errorf("recovery codes of %d confirmations are good", good)
	}
}

func testTexts(t *testing.T, s account.Store) {
	r := User(t, "x")
	r.Email = `o'neil+"%_{}@example.com`[:8] + strings.Repeat("a", 200) + "@example.com" // no SQL but a text
	r.Hash = setting.NewSecret("'; DROP TABLE users; --")
	if err := s.Insert(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	same(t, s, r)
	sealed := make([]byte, 64)
	_, _ = rand.Read(sealed)
	sealed[0], sealed[1] = 0, 0xff // no text but bytes
	if err := s.Enrol(t.Context(), r.ID, sealed); err != nil {
		t.Fatal(err)
	}
	r.Factor.Sealed = sealed
	same(t, s, r)
	_, err := s.ByEmail(t.Context(), "%")
	wants(t, "a pattern", err, account.ErrNoUser)
}

func testCancelled(t *testing.T, s account.Store) {
	ann := inserted(t, s, "ann")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := s.ByID(ctx, ann.ID); err != nil {
		wants(t, "a caller who is gone", err, account.ErrUnavailable)
	} else if r.ID != ann.ID {
		t.Errorf("found %v", r)
	}
	same(t, s, ann)
}

func testRemove(t *testing.T, s account.Store) {
	ann := enrolled(t, s, []byte("hash"))
	for range 2 {
		if err := s.Remove(t.Context(), ann.ID); err != nil {
			t.Fatal(err)
		}
	}
	ann.MFA, ann.Factor = false, account.Factor{}
	same(t, s, ann)
	if fresh, err := s.Spend(t.Context(), ann.ID, account.Code{Recovery: []byte("hash")}); fresh || err != nil {
		t.Errorf("a recovery code outlived its factor: %v, %v", fresh, err)
	}
	if err := s.Enrol(t.Context(), ann.ID, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := s.Confirm(t.Context(), ann.ID, account.Confirmation{Sealed: []byte("new"), Step: 3, Recovery: [][]byte{[]byte("new hash")}}); err != nil {
		t.Fatal(err)
	}
	ann.MFA, ann.Factor = true, account.Factor{Sealed: []byte("new"), Step: 3}
	same(t, s, ann)
	for hash, want := range map[string]bool{"hash": false, "new hash": true} {
		if fresh, err := s.Spend(t.Context(), ann.ID, account.Code{Recovery: []byte(hash)}); fresh != want || err != nil {
			t.Errorf("%s: %v, %v", hash, fresh, err)
		}
	}
}
