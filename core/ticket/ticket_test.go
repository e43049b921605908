package ticket_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/ticket"
	"github.com/suuupra/gateway/core/ticket/tickettest"
	"github.com/suuupra/gateway/core/token"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	tickettest.TestStore(t, func(*testing.T) ticket.Store { return ticket.NewMemory(ticket.DefaultMemory, clock.Real()) })
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	fake := clock.NewFake(time.Unix(1000, 0))
	m := ticket.NewMemory(2, fake)
	put := func(key string) error { return m.Put(t.Context(), key, []byte(key), time.Second) }
	for _, key := range []string{"a", "b", "a"} {
		if err := put(key); err != nil {
			t.Fatal(err)
		}
	}
	if err := put("c"); !errors.Is(err, ticket.ErrUnavailable) {
		t.Errorf("a third one: %v", err)
	}
	fake.Advance(time.Second)
	if got, err := m.Take(t.Context(), "a"); got != nil || err != nil {
		t.Errorf("too late: %q %v", got, err)
	}
	if err := put("c"); err != nil {
		t.Errorf("when the others are over: %v", err)
	}
}

// verified is a token of our own.
func verified(t *testing.T) *token.Verified {
	scopes, err := principal.NewScopes([]string{"vod", "courses:read"})
	if err != nil {
		t.Fatal(err)
	}
	return &token.Verified{
		Principal: principal.Principal{User: "u1", Client: "web", Session: "s1", Policy: "premium", Scopes: scopes, Shown: principal.Token},
		ID:        "jti", KeyID: "kid", IssuedAt: 900, NotBefore: 900, Expires: 1800, Fingerprint: "print", Thumbprint: "thumb", Claims: map[string]any{"a": 1},
	}
}

// broken is a store that gives what it is told.
type broken struct {
	value []byte
	err   error
}

func (b broken) Put(context.Context, string, []byte, time.Duration) error { return b.err }
func (b broken) Take(context.Context, string) ([]byte, error)             { return b.value, b.err }

func TestID10_ATicketIsGoodOnce(t *testing.T) {
	t.Parallel()
	fake := clock.NewFake(time.Unix(1000, 0))
	tickets := ticket.New(ticket.Options{Store: ticket.NewMemory(100, fake), Timeout: time.Second, Clock: fake})
	issue := func() []byte {
		t.Helper()
		issued, err := tickets.Issue(t.Context(), verified(t), "/vod/1")
		if err != nil {
			t.Fatal(err)
		}
		return []byte(issued)
	}
	refused := func(name string, raw []byte, path string, want error) {
		t.Helper()
		if v, err := tickets.Redeem(raw, []byte(path)); v != nil || !errors.Is(err, want) || strings.Contains(err.Error(), string(raw)) && len(raw) > 0 {
			t.Errorf("%s: %v %v, want %v", name, v, err, want)
		}
	}
	one := issue()
	got, err := tickets.Redeem(one, []byte("/vod/1"))
	if err != nil {
		t.Fatal(err)
	}
	want := verified(t)
	want.Principal.Shown, want.Fingerprint, want.NotBefore, want.Claims = principal.Ticket, "", 0, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	refused("a second time", one, "/vod/1", token.ErrInvalid)
	two := issue()
	refused("another path", two, "/vod/2", token.ErrInvalid)
	refused("the right path behind it", two, "/vod/1", token.ErrInvalid)
	late := issue()
	fake.Advance(ticket.Life)
	refused("too late", late, "/vod/1", token.ErrInvalid)
	for _, raw := range []string{"", "x", strings.Repeat("x", 43), strings.Repeat("x", 1<<20)} {
		refused("rubbish", []byte(raw), "/vod/1", token.ErrInvalid)
	}
}

func TestID10_StoresOfTicketsAreNotBelieved(t *testing.T) {
	t.Parallel()
	fake := clock.NewFake(time.Unix(1000, 0))
	raw := []byte(strings.Repeat("x", 43))
	for _, c := range []struct {
		name string
		b    broken
		want error
	}{
		{"away", broken{err: ticket.ErrUnavailable}, token.ErrUnavailable},
		{"garbage", broken{value: []byte("garbage")}, token.ErrUnavailable},
		{"bad scope", broken{value: []byte(`{"path":"/","scopes":["a b"],"until":9999999,"expires":9999}`)}, token.ErrUnavailable},
		{"over, but kept", broken{value: []byte(`{"path":"/","until":1000000,"expires":9999}`)}, token.ErrExpired},
		{"of a token that is over", broken{value: []byte(`{"path":"/","until":9999999,"expires":1000}`)}, token.ErrExpired},
	} {
		v, err := ticket.New(ticket.Options{Store: c.b, Timeout: time.Second, Clock: fake}).Redeem(raw, []byte("/"))
		if v != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v %v", c.name, v, err)
		}
	}
	if _, err := ticket.New(ticket.Options{Store: broken{err: ticket.ErrUnavailable}, Clock: fake}).Issue(t.Context(), verified(t), "/"); !errors.Is(err, ticket.ErrUnavailable) {
		t.Errorf("issuing: %v", err)
	}
}
