package apikeytest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/suuupra/gateway/core/apikey"
)

// Subject is a store to test: empty, but for what User names.
type Subject struct {
	Store   apikey.Store
	Clients apikey.ClientStore
	User    string // a user that keys may belong to
}

// Client is a client that Record's keys can belong to; its id is a UUID, as all stores take them.
func Client(n int) apikey.Client {
	return apikey.Client{
		ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), Name: fmt.Sprintf("client %d", n),
		SecretHash: "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		Scopes:     []string{"courses", "vod"}, Policy: "premium", RedirectURIs: []string{"https://app.example/cb"},
		Active: true, Created: 1_700_000_000, Updated: 1_700_000_000,
	}
}

// Record is the nth key of a client.
func Record(n int, client string) apikey.Record {
	return apikey.Record{
		ID: fmt.Sprintf("Key%013d", n), Name: fmt.Sprintf("key %d – für Tests", n), Client: client,
		Scopes: []string{"courses:read", "vod"}, Policy: "standard",
		AllowFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Expires:   4_000_000_000, Active: true, Created: 1_700_000_000, Revision: 1,
		Versions: []apikey.Version{{Number: 1, Hash: apikey.Hash{byte(n), 1}, Created: 1_700_000_000}},
	}
}

// TestStore runs the suite; newSubject returns an empty store each time.
func TestStore(t *testing.T, newSubject func(t *testing.T) Subject) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Subject)
	}{
		{"what was created is loaded", createsAndLoads},
		{"what can't be created", refusesToCreate},
		{"an update replaces, and keeps the order of revisions", updates},
		{"of concurrent updates one wins", updatesConcurrently},
		{"all are listed", lists},
		{"clients are listed and switched", switchesClients},
		{"changes are pushed", pushes},
		{"usage adds up", addsUsage},
		{"old usage is forgotten", forgetsUsage},
		{"usage adds up concurrently", addsUsageConcurrently},
		{"a call that is cancelled is no answer", isCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newSubject(t)) })
	}
}

// uuid names a batch.
func uuid(n int) string { return fmt.Sprintf("00000000-0000-4000-9000-%012d", n) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want one that wraps %q", err, want)
	}
}

// withOwner is r as a store returns it.
func withOwner(r apikey.Record, c apikey.Client) apikey.Record {
	r.Owner = apikey.Owner{Active: c.Active, Scopes: c.Scopes, Policy: c.Policy}
	return r
}

func createsAndLoads(t *testing.T, s Subject) {
	ctx := t.Context()
	c := Client(1)
	must(t, s.Clients.CreateClient(ctx, c))
	r := Record(1, c.ID)
	must(t, s.Store.Create(ctx, r))
	got, err := s.Store.Load(ctx, r.ID)
	must(t, err)
	same(t, got, withOwner(r, c))

	bare := apikey.Record{ID: "Bare000000000000", User: s.User, Active: true, Created: 1, Revision: 1, Versions: Record(2, "").Versions}
	must(t, s.Store.Create(ctx, bare))
	got, err = s.Store.Load(ctx, bare.ID)
	must(t, err)
	bare.Owner.Active = true
	same(t, got, bare)

	for _, id := range []string{"Key9999999999999", "", "key0000000000001", "' or true --", "Key\x000000000000001"} {
		_, err = s.Store.Load(ctx, id)
		wants(t, err, apikey.ErrUnknown)
	}
}

func refusesToCreate(t *testing.T, s Subject) {
	ctx := t.Context()
	c := Client(1)
	must(t, s.Clients.CreateClient(ctx, c))
	wants(t, s.Clients.CreateClient(ctx, c), apikey.ErrExists)
	must(t, s.Store.Create(ctx, Record(1, c.ID)))
	wants(t, s.Store.Create(ctx, Record(1, c.ID)), apikey.ErrExists)
	wants(t, s.Store.Create(ctx, Record(2, Client(2).ID)), apikey.ErrNoClient)
	wants(t, s.Store.Create(ctx, apikey.Record{ID: "Key", User: s.User}), apikey.ErrInvalid)
	broken := Record(3, c.ID)
	broken.Scopes = []string{"a b"}
	wants(t, s.Store.Create(ctx, broken), apikey.ErrInvalid)
	wants(t, s.Clients.CreateClient(ctx, apikey.Client{ID: Client(3).ID}), apikey.ErrInvalid)
	all, err := s.Store.List(ctx)
	must(t, err)
	if len(all) != 1 {
		t.Fatalf("%d keys are there, want the one that was right", len(all))
	}
}

func updates(t *testing.T, s Subject) {
	ctx := t.Context()
	c := Client(1)
	must(t, s.Clients.CreateClient(ctx, c))
	r := Record(1, c.ID)
	must(t, s.Store.Create(ctx, r))

	r.Revision, r.Name, r.Scopes, r.AllowFrom, r.Expires = 2, "renamed", []string{"vod"}, nil, 0
	r.Versions[0].Until = 3_000_000_000
	r.Versions = append(r.Versions, apikey.Version{Number: 2, Hash: apikey.Hash{9}, Created: 1_700_000_001})
	must(t, s.Store.Update(ctx, r))
	got, err := s.Store.Load(ctx, r.ID)
	must(t, err)
	same(t, got, withOwner(r, c))

	wants(t, s.Store.Update(ctx, r), apikey.ErrConflict)
	old := r
	old.Revision = 1
	wants(t, s.Store.Update(ctx, old), apikey.ErrConflict)
	missing := Record(7, c.ID)
	missing.Revision = 2
	wants(t, s.Store.Update(ctx, missing), apikey.ErrUnknown)

	r.Revision, r.Active = 3, false
	r.Versions = r.Versions[1:] // the first one is dead, and stays on record
	must(t, s.Store.Update(ctx, r))
	got, err = s.Store.Load(ctx, r.ID)
	must(t, err)
	for _, v := range got.Versions {
		if v.Number == 1 && (v.Until == 0 || v.Until > time.Now().Unix()+60) {
			t.Errorf("version 1 lives on: %+v", v)
		}
	}
	if last := got.Versions[len(got.Versions)-1]; last != r.Versions[0] || got.Active {
		t.Errorf("got %+v", got)
	}
}

// The revision is what makes one of many win, with no lock held between a reading
// and a writing.
func updatesConcurrently(t *testing.T, s Subject) {
	ctx := t.Context()
	c := Client(1)
	must(t, s.Clients.CreateClient(ctx, c))
	must(t, s.Store.Create(ctx, Record(1, c.ID)))
	errs := make([]error, 16)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			r := Record(1, c.ID)
			r.Revision, r.Name = 2, fmt.Sprintf("writer %d", i)
			errs[i] = s.Store.Update(ctx, r)
		})
	}
	all.Wait()
	won := ""
	for i, err := range errs {
		switch {
		case err == nil && won == "":
			won = fmt.Sprintf("writer %d", i)
		case !errors.Is(err, apikey.ErrConflict):
			t.Errorf("writer %d: %v", i, err)
		}
	}
	got, err := s.Store.Load(ctx, Record(1, "").ID)
	must(t, err)
	if got.Name != won || got.Revision != 2 {
		t.Fatalf("%q won, and %q is stored at revision %d", won, got.Name, got.Revision)
	}
}

func lists(t *testing.T, s Subject) {
	ctx := t.Context()
	all, err := s.Store.List(ctx)
	must(t, err)
	if len(all) != 0 {
		t.Fatalf("%d keys in an empty store", len(all))
	}
	c := Client(1)
	must(t, s.Clients.CreateClient(ctx, c))
	var want []apikey.Record
	for _, n := range []int{3, 1, 2} {
		must(t, s.Store.Create(ctx, Record(n, c.ID)))
		want = append(want, withOwner(Record(n, c.ID), c))
	}
	slices.SortFunc(want, func(a, b apikey.Record) int { return int(a.ID[15]) - int(b.ID[15]) })
	must(t, s.Store.AddUsage(ctx, uuid(1), []apikey.UsageRow{{Key: Record(2, "").ID, Version: 1, Hour: 3600, Usage: apikey.Usage{Requests: 1, LastUsed: 4000}}}))
	want[1].LastUsed = 4000
	all, err = s.Store.List(ctx)
	must(t, err)
	same(t, all, want)
}

func switchesClients(t *testing.T, s Subject) {
	ctx := t.Context()
	one, two := Client(1), Client(2)
	must(t, s.Clients.CreateClient(ctx, two))
	must(t, s.Clients.CreateClient(ctx, one))
	must(t, s.Store.Create(ctx, Record(1, one.ID)))
	must(t, s.Store.Create(ctx, Record(2, two.ID)))
	all, err := s.Clients.ListClients(ctx)
	must(t, err)
	same(t, all, []apikey.Client{one, two})

	must(t, s.Clients.SwitchClient(ctx, one.ID, false))
	must(t, s.Clients.SwitchClient(ctx, one.ID, false))
	mine, err := s.Store.Load(ctx, Record(1, "").ID)
	must(t, err)
	if mine.Owner.Active || mine.Revision < 2 {
		t.Errorf("a key of a client that is off: owner %+v, revision %d", mine.Owner, mine.Revision)
	}
	other, err := s.Store.Load(ctx, Record(2, "").ID)
	must(t, err)
	if !other.Owner.Active || other.Revision != 1 {
		t.Errorf("a key of another client: owner %+v, revision %d", other.Owner, other.Revision)
	}
	must(t, s.Clients.SwitchClient(ctx, one.ID, true))
	again, err := s.Store.Load(ctx, mine.ID)
	must(t, err)
	if !again.Owner.Active || again.Revision <= mine.Revision {
		t.Errorf("a key of a client that is on again: owner %+v, revision %d after %d", again.Owner, again.Revision, mine.Revision)
	}
	for _, id := range []string{Client(9).ID, "", "no uuid", "'"} {
		wants(t, s.Clients.SwitchClient(ctx, id, false), apikey.ErrNoClient)
	}
}

// Patience is how long a push may take here before it counts as lost.
const Patience = 20 * time.Second

func pushes(t *testing.T, s Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	type push struct {
		id       string
		revision int64
	}
	told := make(chan push, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Store.Watch(ctx, func(id string, revision int64) { told <- push{id, revision} })
	}()
	defer func() { <-done }()
	defer cancel()
	next := func(want push) {
		t.Helper()
		select {
		case got := <-told:
			if got != want {
				t.Fatalf("pushed %+v, want %+v", got, want)
			}
		case <-time.After(Patience):
			t.Fatalf("%+v was not pushed", want)
		}
	}
	next(push{})
	c := Client(1)
	must(t, s.Clients.CreateClient(ctx, c))
	r := Record(1, c.ID)
	must(t, s.Store.Create(ctx, r))
	next(push{r.ID, 1})
	r.Revision, r.Active = 2, false
	must(t, s.Store.Update(ctx, r))
	next(push{r.ID, 2})
	must(t, s.Clients.SwitchClient(ctx, c.ID, false))
	next(push{r.ID, 3})
}

func addsUsage(t *testing.T, s Subject) {
	ctx := t.Context()
	c := Client(1)
	must(t, s.Clients.CreateClient(ctx, c))
	a, b := Record(1, c.ID), Record(2, c.ID)
	must(t, s.Store.Create(ctx, a))
	must(t, s.Store.Create(ctx, b))
	const hour = 3600
	row := func(id, route string, h int64, u apikey.Usage) apikey.UsageRow {
		return apikey.UsageRow{Key: id, Version: 1, Route: route, Hour: h * hour, Usage: u}
	}
	full := apikey.Usage{Requests: 5, Errors: 2, Limited: 1, In: 1 << 40, Out: 7, LastUsed: 11 * hour}
	must(t, s.Store.AddUsage(ctx, uuid(900), nil))
	must(t, s.Store.AddUsage(ctx, uuid(2), []apikey.UsageRow{row(a.ID, "orders", 10, full), row(a.ID, "vod", 10, full), row(b.ID, "orders", 10, full)}))
	must(t, s.Store.AddUsage(ctx, uuid(3), []apikey.UsageRow{
		row(a.ID, "orders", 10, apikey.Usage{Requests: 1, LastUsed: 5}),
		row(a.ID, "orders", 11, full), row(a.ID, "orders", 12, full),
		row("Gone000000000000", "orders", 10, full), // its key was deleted meanwhile: no reason to lose the others
	}))
	// A batch that is given again, because nobody knew whether it had been taken.
	must(t, s.Store.AddUsage(ctx, uuid(901), []apikey.UsageRow{row(a.ID, "vod", 11, full)}))
	must(t, s.Store.AddUsage(ctx, uuid(901), []apikey.UsageRow{row(a.ID, "vod", 11, full)}))
	double := full
	double.Requests = 6
	rows, err := s.Store.Usage(ctx, a.ID, time.Unix(10*hour, 0), time.Unix(12*hour, 0))
	must(t, err)
	same(t, rows, []apikey.UsageRow{row(a.ID, "orders", 10, double), row(a.ID, "vod", 10, full), row(a.ID, "orders", 11, full), row(a.ID, "vod", 11, full)})
	rows, err = s.Store.Usage(ctx, a.ID, time.Unix(13*hour, 0), time.Unix(14*hour, 0))
	must(t, err)
	same(t, rows, []apikey.UsageRow{})
}

// Instances add to the same rows in one order; nothing is lost and nobody waits for ever.
func addsUsageConcurrently(t *testing.T, s Subject) {
	ctx := t.Context()
	c := Client(1)
	must(t, s.Clients.CreateClient(ctx, c))
	var rows []apikey.UsageRow
	for n := range 5 {
		must(t, s.Store.Create(ctx, Record(n, c.ID)))
		rows = append(rows, apikey.UsageRow{Key: Record(n, "").ID, Version: 1, Route: "r", Hour: 3600, Usage: apikey.Usage{Requests: 1, LastUsed: 1}})
	}
	const writers, times = 6, 10
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range times {
				if err := s.Store.AddUsage(ctx, uuid(1000*w+i), rows); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, r := range rows {
		got, err := s.Store.Usage(ctx, r.Key, time.Unix(0, 0), time.Unix(7200, 0))
		must(t, err)
		r.Requests = writers * times
		same(t, got, []apikey.UsageRow{r})
	}
}

// Old rows go, as many at a time as may; new ones and the last use of a key stay.
func forgetsUsage(t *testing.T, s Subject) {
	ctx := t.Context()
	c := Client(1)
	must(t, s.Clients.CreateClient(ctx, c))
	r := Record(1, c.ID)
	must(t, s.Store.Create(ctx, r))
	const hour = 3600
	var rows []apikey.UsageRow
	for h := range int64(10) {
		rows = append(rows, apikey.UsageRow{Key: r.ID, Version: 1, Route: "r", Hour: h * hour, Usage: apikey.Usage{Requests: 1, LastUsed: h*hour + 1}})
	}
	must(t, s.Store.AddUsage(ctx, uuid(5), rows))
	for _, want := range []int{3, 3, 1, 0} {
		got, err := s.Store.ForgetUsage(ctx, time.Unix(7*hour, 0), 3)
		must(t, err)
		same(t, got, want)
	}
	left, err := s.Store.Usage(ctx, r.ID, time.Unix(0, 0), time.Unix(100*hour, 0))
	must(t, err)
	same(t, left, rows[7:])
	_, err = s.Store.ForgetUsage(ctx, time.Unix(100*hour, 0), 100)
	must(t, err)
	loaded, err := s.Store.Load(ctx, r.ID)
	must(t, err)
	same(t, loaded.LastUsed, int64(9*hour+1))
}

func isCancelled(t *testing.T, s Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Store.Load(ctx, Record(1, "").ID)
	wants(t, err, apikey.ErrUnavailable)
	wants(t, s.Store.Create(ctx, Record(1, Client(1).ID)), apikey.ErrUnavailable)
	wants(t, s.Store.Update(ctx, Record(1, Client(1).ID)), apikey.ErrUnavailable)
	_, err = s.Store.List(ctx)
	wants(t, err, apikey.ErrUnavailable)
	_, err = s.Store.Usage(ctx, Record(1, "").ID, time.Unix(0, 0), time.Unix(1, 0))
	wants(t, err, apikey.ErrUnavailable)
	wants(t, s.Store.AddUsage(ctx, uuid(4), []apikey.UsageRow{{Key: Record(1, "").ID}}), apikey.ErrUnavailable)
	_, err = s.Store.ForgetUsage(ctx, time.Unix(1, 0), 1)
	wants(t, err, apikey.ErrUnavailable)
	_, err = s.Clients.ListClients(ctx)
	wants(t, err, apikey.ErrUnavailable)
	wants(t, s.Clients.CreateClient(ctx, Client(1)), apikey.ErrUnavailable)
	wants(t, s.Clients.SwitchClient(ctx, Client(1).ID, false), apikey.ErrUnavailable)
	s.Store.Watch(ctx, func(string, int64) {})
}
