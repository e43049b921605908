package token

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/principal"
)

// DefaultCacheBytes is how much the verified-token cache holds unless told
// otherwise: about 20,000 tokens.
const DefaultCacheBytes = 64 << 20

// VerifierOptions say whose tokens are accepted.
type VerifierOptions struct {
	Keys       *Keys
	Issuer     string
	Audiences  []string // never empty
	Leeway     time.Duration
	Foreign    []Foreign
	CacheBytes int64 // 0: DefaultCacheBytes
	Clock      clock.Clock
	Meter      *meter.Set // nil: nothing is counted
	Log        zerolog.Logger
}

// Verifier says whether a token is good, and who it speaks for. It may be used
// concurrently. Its issuers and audiences never change: for others a new one is
// made, with a cache of its own (SECURITY I9).
type Verifier struct {
	keys      *Keys
	issuer    string
	audiences []string
	leeway    int64 // seconds
	foreign   map[string]*issuer
	clock     clock.Clock
	log       zerolog.Logger
	cache     *cache
	hits      *meter.Counter
	misses    *meter.Counter
	remove    []func() // gauges
}

// NewVerifier returns a verifier that knows no keys of foreign issuers yet: Run
// fetches them.
func NewVerifier(o VerifierOptions) (*Verifier, error) {
	if o.Issuer == "" || len(o.Audiences) == 0 || slices.Contains(o.Audiences, "") {
		return nil, fmt.Errorf("tokens can't be verified without an issuer and an audience")
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.Meter == nil {
		o.Meter = meter.NewSet(o.Clock.Now)
	}
	v := &Verifier{
		keys: o.Keys, issuer: o.Issuer, audiences: slices.Clone(o.Audiences), leeway: int64(o.Leeway / time.Second),
		foreign: map[string]*issuer{}, clock: o.Clock, log: o.Log, cache: newCache(o.CacheBytes),
		hits:   o.Meter.Counter("gateway_token_cache_hits_total", "Tokens that had been verified before."),
		misses: o.Meter.Counter("gateway_token_cache_misses_total", "Tokens that had to be verified, good or not."),
	}
	for _, f := range o.Foreign {
		if v.foreign[f.Issuer] != nil || f.Issuer == o.Issuer {
			return nil, fmt.Errorf("issuer %s: %q is the issuer of somebody else here", f.Name, f.Issuer)
		}
		made, err := newIssuer(f, o.Clock, o.Log)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", f.Name, err)
		}
		v.foreign[f.Issuer] = made
	}
	v.count(o.Meter)
	return v, nil
}

// count shows what the verifier knows, until Run ends.
func (v *Verifier) count(m *meter.Set) {
	v.remove = append(v.remove,
		m.Gauge("gateway_token_cache_bytes", "Bytes that the verified-token cache holds.", func() float64 { return float64(v.cache.bytes()) }),
		m.CounterFunc("gateway_token_cache_evictions_total", "Tokens that left the cache to make room.", func() float64 { return float64(v.cache.evicted.Load()) }),
	)
	for _, i := range v.foreign {
		v.remove = append(v.remove, i.set.count(m, i.name)...)
	}
}

// sweepEvery is how often what is dead leaves the cache without being looked for.
const sweepEvery = time.Minute

// Run fetches the key sets of foreign issuers and keeps them fresh until ctx is
// done. It returns when everything that it started has ended.
func (v *Verifier) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, i := range v.foreign {
		running.Go(func() { i.set.run(ctx) })
	}
	timer := v.clock.NewTimer(sweepEvery)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-timer.C():
			v.cache.sweep(v.clock.Now().Unix() - v.leeway)
			timer.Reset(sweepEvery)
		}
	}
	running.Wait()
	for _, remove := range v.remove {
		remove()
	}
}

// Access verifies an access token: of our own, or of a foreign issuer (then the
// principal's Issuer is its name). raw is borrowed. A token that was good before
// costs less than a microsecond and no allocation; its dates are checked each time.
// Errors wrap one of ErrExpired, ErrInvalid and ErrUnavailable.
func (v *Verifier) Access(raw []byte) (*Verified, error) {
	if len(raw) > maxToken {
		return nil, refused("it is longer than 8 KiB")
	}
	now, hash := v.clock.Now().Unix(), v.cache.hash(raw)
	if known := v.cache.get(hash, raw); known != nil {
		v.hits.Add(uint32(hash), 1)
		if err := v.dates(known, now); err != nil {
			return nil, err
		}
		return known, nil
	}
	v.misses.Add(uint32(hash), 1)
	text := string(raw)
	verified, key, err := v.first(text)
	if err != nil {
		return nil, err
	}
	if err := v.dates(verified, now); err != nil {
		return nil, err
	}
	v.cache.put(&entry{token: text, hash: hash, key: key, verified: verified, bytes: weigh(text, verified)}, now-v.leeway)
	return verified, nil
}

// first verifies a token that is not known.
func (v *Verifier) first(text string) (*Verified, *verificationKey, error) {
	p, err := split(text)
	if err != nil {
		return nil, nil, err
	}
	iss, _ := p.claims["iss"].(string)
	if foreign := v.foreign[iss]; foreign != nil {
		key, err := p.verify(foreign.types, foreign.key)
		if err != nil {
			return nil, nil, err
		}
		verified, err := foreign.read(p.claims, key.id)
		return verified, key, err
	}
	if iss != v.issuer {
		return nil, nil, refused("nobody we know issued it")
	}
	key, err := p.verify([]string{typAccess}, v.own(ForAccess))
	if err != nil {
		return nil, nil, err
	}
	verified, err := readOwn(p.claims, v.audiences, key.id)
	return verified, key, err
}

// own chooses among our own keys.
func (v *Verifier) own(p Purpose) keyChooser {
	return func(kid, _ string) (*verificationKey, error) { return v.keys.verification(p, kid) }
}

// Refresh verifies a refresh token of our own. raw is borrowed. Whether it was used
// before is not known here.
func (v *Verifier) Refresh(raw []byte) (*Verified, error) {
	p, err := split(string(raw[:min(len(raw), maxToken+1)]))
	if err != nil {
		return nil, err
	}
	if iss, _ := p.claims["iss"].(string); iss != v.issuer {
		return nil, refused("it is not ours")
	}
	key, err := p.verify([]string{typRefresh}, v.own(ForRefresh))
	if err != nil {
		return nil, err
	}
	if kind, _ := p.claims["tokenType"].(string); kind != "refresh" {
		return nil, refused("it is no refresh token")
	}
	verified, err := readOwn(p.claims, []string{v.issuer}, key.id)
	if err != nil {
		return nil, err
	}
	if err := v.dates(verified, v.clock.Now().Unix()); err != nil {
		return nil, err
	}
	return verified, nil
}

// dates says whether a token is good at now, which every request asks anew. It
// allocates only to refuse.
func (v *Verifier) dates(t *Verified, now int64) error {
	switch {
	case t.Expires+v.leeway <= now:
		return ErrExpired
	case t.NotBefore > now+v.leeway:
		return refused("it is not good yet")
	case t.IssuedAt > now+v.leeway:
		return refused("it was issued in the future")
	default:
		return nil
	}
}

// keyChooser returns the key of a kid for signatures of algorithm.
type keyChooser func(kid, algorithm string) (*verificationKey, error)

// Members of a header that bring a key along, or say where to fetch one, and those
// that change what the rest means (RFC 7515 §4.1, RFC 7797). No issuer of ours needs
// them, and each has let somebody in somewhere.
var foreignKeyMembers = [...]string{"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"}

// verify checks header and signature, and returns the key that signed.
func (p *parts) verify(types []string, choose keyChooser) (*verificationKey, error) {
	for _, name := range foreignKeyMembers {
		if _, there := p.header[name]; there {
			return nil, refused("its header has " + name)
		}
	}
	head := claims{all: p.header}
	typ, algorithm, kid := head.text("typ"), head.text("alg"), head.word("kid")
	if head.err != nil {
		return nil, head.err
	}
	if !slices.Contains(types, typ) {
		return nil, refused("its typ is of another kind of token")
	}
	key, err := choose(kid, algorithm)
	if err != nil {
		return nil, err
	}
	method := key.method(algorithm)
	if method == nil {
		return nil, refused("its alg is not the one of its key")
	}
	if method.Verify(p.signed, p.signature, key.public) != nil {
		return nil, refused("its signature does not match")
	}
	return key, nil
}

// readOwn reads the claims of a token of ours.
func readOwn(all map[string]any, audiences []string, kid string) (*Verified, error) {
	c := claims{all: all}
	c.audience(audiences)
	v := &Verified{
		ID: c.word("jti"), KeyID: kid, Claims: all,
		IssuedAt: c.date("iat", true), NotBefore: c.date("nbf", false), Expires: c.date("exp", true),
		Fingerprint: c.fingerprint(), Thumbprint: c.confirmation(),
		Principal: principal.Principal{
			User: c.word("sub"), Client: c.word("client_id"), Session: c.optional("sessionId"),
			Scopes: c.ownScopes(), Shown: principal.Token,
		},
	}
	if v.Principal.User == v.Principal.Client {
		v.Principal.User = "" // the client acts for itself
	}
	if c.err != nil {
		return nil, c.err
	}
	return v, nil
}
