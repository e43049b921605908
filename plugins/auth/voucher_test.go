package auth

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/suuupra/gateway/core/principal"
)

// signer numbers what it signs.
type signer struct {
	mu   sync.Mutex
	n    int
	fail bool
}

func (s *signer) Internal(p *principal.Principal, service string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return "", errors.New("no key")
	}
	s.n++
	return fmt.Sprintf("%d %s %s", s.n, p.User, service), nil
}

// TestI7_VouchersAgeWell: none is older than 30 s, and none speaks of somebody else.
func TestI7_VouchersAgeWell(t *testing.T) {
	t.Parallel()
	s := &signer{}
	v := newVoucher(s)
	p := &principal.Principal{User: "ann"}
	read, _ := principal.NewScopes([]string{"read"})
	for _, c := range []struct {
		p       *principal.Principal
		service string
		at      int64
		want    string
	}{
		{p, "a", 1, "1 ann a"},
		{p, "a", voucherAge, "1 ann a"},
		{p, "a", voucherAge + 1, "1 ann a"},   // now of the older generation
		{p, "a", 2 * voucherAge, "1 ann a"},   // still
		{p, "a", 2*voucherAge + 2, "2 ann a"}, // that generation is gone
		{p, "b", 2*voucherAge + 2, "3 ann b"}, // another service
		{p, "a", 2*voucherAge + 3, "2 ann a"}, // kept beside it
		{p, "a", 100 * voucherAge, "4 ann a"}, // after a long silence
		{&principal.Principal{User: "ann", Scopes: read}, "a", 100 * voucherAge, "5 ann a"},
		{&principal.Principal{User: "ann", Session: "s"}, "a", 100 * voucherAge, "6 ann a"},
		{&principal.Principal{User: "ann", Client: "c"}, "a", 100 * voucherAge, "7 ann a"},
		{&principal.Principal{User: "ann", Key: "k"}, "a", 100 * voucherAge, "8 ann a"},
		{&principal.Principal{User: "ann", Issuer: "i"}, "a", 100 * voucherAge, "9 ann a"},
		{&principal.Principal{User: "ann"}, "a", 100 * voucherAge, "4 ann a"}, // equal is the same
	} {
		if got, err := v.of(c.p, c.service, c.at); err != nil || got != c.want {
			t.Errorf("%+v for %s at %d: %q, %v, want %q", *c.p, c.service, c.at, got, err, c.want)
		}
	}
	s.fail = true
	if _, err := v.of(&principal.Principal{User: "bob"}, "a", 1); err == nil {
		t.Error("an error was swallowed")
	}
	if _, err := newVoucher(nil).of(p, "a", 1); !errors.Is(err, errUnsigned) {
		t.Errorf("without a signer: %v", err)
	}
}

// However many call, what is kept is bounded.
func TestVouchersAreBounded(t *testing.T) {
	t.Parallel()
	v := newVoucher(&signer{})
	for i := range 3 * vouchersEach * voucherShards {
		if _, err := v.of(&principal.Principal{User: fmt.Sprint(i)}, "a", 1); err != nil {
			t.Fatal(err)
		}
	}
	for i := range v.shards {
		if s := &v.shards[i]; len(s.now) > vouchersEach || len(s.old) > vouchersEach {
			t.Fatalf("a shard keeps %d and %d", len(s.now), len(s.old))
		}
	}
}
