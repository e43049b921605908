package auth

import (
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/principal"
)

// The bounds of the vouchers that are kept. A signature costs as much as fifty
// requests, so one serves its caller for a while; it is good for 60 s (SECURITY I7),
// so what reaches a service is good for 30 s at least.
const (
	voucherAge    = int64(15 * time.Second)
	vouchersEach  = 512 // in a generation of a shard
	voucherShards = 32
)

// voucher signs who calls, for the services of one route.
type voucher struct {
	signer plugin.Vouchers
	seed   maphash.Seed
	shards [voucherShards]shard
}

// shard keeps vouchers for two generations: those of the older one go all at once. mu
// is held for a map access, never while signing.
type shard struct {
	mu       sync.Mutex
	since    int64 // when the younger generation began, of the clock's Mono
	now, old map[spoken]string
}

// errUnsigned is why a service that wants to be told in a token is told nothing.
var errUnsigned = errors.New("internal_token: this gateway signs no tokens, so that the service can't be told who calls")

// spoken is all that a voucher says.
type spoken struct {
	user, client, session, key, issuer, scopes, service string
}

func newVoucher(signer plugin.Vouchers) *voucher {
	return &voucher{signer: signer, seed: maphash.MakeSeed()}
}

// request is the Request hook: it gives the exchange its voucher.
func (v *voucher) request(x *pipeline.Exchange) pipeline.Verdict {
	p := x.Principal
	if p == nil || len(x.Route.Destinations) == 0 {
		return pipeline.Continue
	}
	signed, err := v.of(p, x.Choose().Service.Name, x.Timing.Start)
	if err != nil {
		return x.FailBy(fault.Internal, err)
	}
	x.Voucher = signed
	return pipeline.Continue
}

// of returns a voucher for p, which may have been signed a while ago. now is of the
// clock's Mono.
func (v *voucher) of(p *principal.Principal, service string, now int64) (string, error) {
	what := spoken{p.User, p.Client, p.Session, p.Key, p.Issuer, p.Scopes.String(), service}
	s := &v.shards[maphash.Comparable(v.seed, what)%voucherShards]
	if signed := s.get(what, now); signed != "" {
		return signed, nil
	}
	if v.signer == nil {
		return "", errUnsigned
	}
	signed, err := v.signer.Internal(p, service)
	if err != nil {
		return "", fmt.Errorf("telling service %s who calls: %w", service, err)
	}
	s.put(what, signed)
	return signed, nil
}

func (s *shard) get(what spoken, now int64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch age := now - s.since; {
	case s.now == nil, age >= 2*voucherAge:
		s.now, s.old, s.since = map[spoken]string{}, nil, now
	case age >= voucherAge, len(s.now) >= vouchersEach:
		s.now, s.old, s.since = map[spoken]string{}, s.now, now
	}
	if signed := s.now[what]; signed != "" {
		return signed
	}
	return s.old[what]
}

func (s *shard) put(what spoken, signed string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now[what] = signed
}
