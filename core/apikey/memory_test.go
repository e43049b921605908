package apikey_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/apikey/apikeytest"
)

func TestMemory(t *testing.T) {
	apikeytest.TestStore(t, func(t *testing.T) apikeytest.Subject {
		m, err := apikey.NewMemory(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return apikeytest.Subject{Store: m, Clients: m, User: "u-1"}
	})
}

func TestShelf(t *testing.T) {
	apikeytest.TestShared(t, func(*testing.T) apikey.Shared { return new(apikeytest.Shelf) })
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	client := apikeytest.Client(1)
	key := func(change func(*apikey.Record)) []apikey.Record {
		r := apikeytest.Record(1, client.ID)
		change(&r)
		return []apikey.Record{r}
	}
	of := func(change func(*apikey.Client)) []apikey.Client {
		c := client
		change(&c)
		return []apikey.Client{c}
	}
	all := []apikey.Client{client}
	for name, c := range map[string]struct {
		keys    []apikey.Record
		clients []apikey.Client
		want    error
		text    string
	}{
		"no id":            {key(func(r *apikey.Record) { r.ID = "k" }), all, apikey.ErrInvalid, "16 letters and digits"},
		"no hash":          {key(func(r *apikey.Record) { r.Versions[0].Hash = apikey.Hash{} }), all, apikey.ErrInvalid, "has no hash"},
		"no secret":        {key(func(r *apikey.Record) { r.Versions = nil }), all, apikey.ErrInvalid, "0 secrets"},
		"nobody's":         {key(func(r *apikey.Record) { r.Client = "" }), all, apikey.ErrInvalid, "belongs to"},
		"unknown client":   {key(func(r *apikey.Record) { r.Client = "x" }), all, apikey.ErrNoClient, "client x"},
		"user with CRLF":   {key(func(r *apikey.Record) { r.User = "u\r\nX: y" }), all, apikey.ErrInvalid, "visible ASCII"},
		"name with escape": {key(func(r *apikey.Record) { r.Name = "\x1b[2J" }), all, apikey.ErrInvalid, "control character"},
		"long name":        {key(func(r *apikey.Record) { r.Name = strings.Repeat("n", 256) }), all, apikey.ErrInvalid, "255 bytes"},
		"bad scope":        {key(func(r *apikey.Record) { r.Scopes = []string{"a:"} }), all, apikey.ErrInvalid, "empty level"},
		"negative expiry":  {key(func(r *apikey.Record) { r.Expires = -1 }), all, apikey.ErrInvalid, "negative"},
		"bits behind":      {key(func(r *apikey.Record) { r.AllowFrom = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")} }), all, apikey.ErrInvalid, "10.0.0.1/8"},
		"no prefix":        {key(func(r *apikey.Record) { r.AllowFrom = make([]netip.Prefix, 1) }), all, apikey.ErrInvalid, "no prefix"},
		"versions of order": {key(func(r *apikey.Record) {
			r.Versions = []apikey.Version{{Number: 2, Hash: apikey.Hash{1}}, {Number: 1, Hash: apikey.Hash{2}}}
		}), all, apikey.ErrInvalid, "out of order"},
		"twice":               {append(key(func(*apikey.Record) {}), key(func(*apikey.Record) {})...), all, apikey.ErrExists, "Key0000000000001"},
		"client twice":        {nil, append(of(func(*apikey.Client) {}), client), apikey.ErrExists, "client"},
		"client with no name": {nil, of(func(c *apikey.Client) { c.Name = "" }), apikey.ErrInvalid, "no name"},
		"client with no id":   {nil, of(func(c *apikey.Client) { c.ID = "" }), apikey.ErrInvalid, "id and policy"},
		"client's bad name":   {nil, of(func(c *apikey.Client) { c.Name = "a\nb" }), apikey.ErrInvalid, "control"},
		"client's bad scope":  {nil, of(func(c *apikey.Client) { c.Scopes = []string{""} }), apikey.ErrInvalid, "scope"},
		"a secret for a hash": {nil, of(func(c *apikey.Client) { c.SecretHash = "hunter2" }), apikey.ErrInvalid, "no bcrypt hash"},
		"many redirects":      {nil, of(func(c *apikey.Client) { c.RedirectURIs = make([]string, 65) }), apikey.ErrInvalid, "redirect"},
	} {
		m, err := apikey.NewMemory(c.keys, c.clients)
		if m != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %q with %q", name, err, c.want, c.text)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error holds a secret: %v", name, err)
		}
	}
}

// A new configuration takes the place of the old one in one step, and what it says
// of a key bites at once.
func TestConfigureReplacesAndPushes(t *testing.T) {
	client := apikeytest.Client(1)
	secretA, secretB := keyOf("AAAAAAAAAAAAAAAA", strings.Repeat("a", 43)), keyOf("BBBBBBBBBBBBBBBB", strings.Repeat("b", 43))
	record := func(key string) apikey.Record {
		r := apikeytest.Record(1, client.ID)
		r.AllowFrom = nil
		r.ID, r.Versions[0].Hash, _ = apikey.HashOf(key)
		return r
	}
	r := newRig(t, nil)
	if err := r.store.Configure([]apikey.Record{record(secretA), record(secretB)}, []apikey.Client{client}); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.wants(secretA, nil)
	r.wants(secretB, nil)
	off := record(secretA)
	off.Active = false
	if err := r.store.Configure([]apikey.Record{off}, nil); !errors.Is(err, apikey.ErrNoClient) {
		t.Fatal(err)
	}
	r.wants(secretA, nil)
	if err := r.store.Configure([]apikey.Record{off}, []apikey.Client{client}); err != nil {
		t.Fatal(err)
	}
	r.eventually("A is refused", func() bool { _, err := r.Check([]byte(secretA), anywhere); return errors.Is(err, apikey.ErrInactive) })
	r.eventually("B is gone", func() bool { _, err := r.Check([]byte(secretB), anywhere); return errors.Is(err, apikey.ErrUnknown) })
}

// Usage in memory has a bound: the oldest hours go first.
func TestUsageInMemoryIsBounded(t *testing.T) {
	record := apikeytest.Record(1, "")
	record.User = "u"
	m, err := apikey.NewMemory([]apikey.Record{record}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const hours, most = 140, 1 << 16
	rows := make([]apikey.UsageRow, 500)
	for h := range hours {
		for i := range rows {
			rows[i] = apikey.UsageRow{Key: record.ID, Version: i, Route: "r", Hour: int64(h) * 3600, Usage: apikey.Usage{Requests: 1}}
		}
		if err := m.AddUsage(t.Context(), fmt.Sprint(h), rows); err != nil {
			t.Fatal(err)
		}
	}
	all, err := m.Usage(t.Context(), record.ID, time.Unix(0, 0), time.Unix(hours*3600, 0))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) > most || len(all) < most-2*len(rows) || all[0].Hour == 0 || all[len(all)-1].Hour != (hours-1)*3600 {
		t.Fatalf("%d rows, from hour %d to %d", len(all), all[0].Hour/3600, all[len(all)-1].Hour/3600)
	}
}
