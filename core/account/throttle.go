package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Throttle counts attempts by key, for all who ask with it: one machine, or all
// instances. Keys are at most 128 bytes of A-Z a-z 0-9 - _ . (SECURITY I21). The
// methods may be called concurrently.
type Throttle interface {
	// Attempt counts one attempt if limit allows one now, and returns 0; otherwise
	// it counts nothing, and returns how long to wait. Looking and counting are one
	// step: of any number who ask at once, no more than the limit go on.
	Attempt(ctx context.Context, key string, limit Limit) (after time.Duration, err error)
	// Refund takes one counted attempt back, and the delay after it.
	Refund(ctx context.Context, key string) error
	// Clear forgets all attempts of a key.
	Clear(ctx context.Context, key string) error
}

// Limit is how many attempts there may be, and how they slow down. The first Free
// attempts of a window cost nothing; after each further one the next must wait:
// FirstDelay, then twice as long each time, at most Ceiling. After Most attempts the
// rest of the window is closed; 0 never closes. The window begins with its first
// attempt; when it ends all is forgotten.
type Limit struct {
	Free       int
	Most       int
	Window     time.Duration
	FirstDelay time.Duration
	Ceiling    time.Duration
}

// Validate says what makes no sense of a limit, or nil. Throttles may rely on it.
func (l Limit) Validate() error {
	switch {
	case l.Window < time.Millisecond:
		return errors.New("a limit needs a window")
	case l.Free < 0 || l.Most < 0 || l.Free == 0 && l.Most == 0:
		return errors.New("a limit needs attempts")
	case l.Most == 0 && (l.FirstDelay <= 0 || l.Ceiling < l.FirstDelay):
		return errors.New("a limit that never closes needs a delay that grows up to a ceiling")
	}
	return nil
}

// Delay is how long must be waited after the count-th attempt of a window of which
// left is still to come.
func (l Limit) Delay(count int, left time.Duration) time.Duration {
	if l.Most > 0 && count >= l.Most {
		return left
	}
	if count <= l.Free || l.FirstDelay <= 0 {
		return 0
	}
	d := min(l.FirstDelay, l.Ceiling)
	for range count - l.Free - 1 {
		if d >= l.Ceiling {
			break
		}
		d *= 2
	}
	return min(d, l.Ceiling, left)
}

// Limits are how often somebody may try (SECURITY I11). A zero field is its default.
type Limits struct {
	PerAccount Rate // identity.throttle.per_account
	PerIP      Rate // identity.throttle.per_ip
}

// Rate is a number of attempts in a window.
type Rate struct {
	Attempts int
	Window   time.Duration
}

// The defaults of Limits.
const (
	defaultPerAccount = 10
	defaultPerIP      = 100
	defaultWindow     = 15 * time.Minute
)

// How attempts slow down: three go unhindered, as people mistype; strangers who try
// one account from everywhere get one attempt each half a minute, and its owner on a
// device that we do not know waits no longer than that.
const (
	freeAttempts = 3
	firstDelay   = time.Second
	ceiling      = 30 * time.Second
)

// limits are the limits by what is counted.
type limits struct {
	pair    Limit // an account from one network, or from one known device: closes
	account Limit // an account from everywhere: never closes
	network Limit // a network, whichever accounts: closes
}

func newLimits(l Limits) limits {
	or := func(r Rate, attempts int) Rate {
		if r.Attempts <= 0 {
			r.Attempts = attempts
		}
		if r.Window < time.Second {
			r.Window = defaultWindow
		}
		return r
	}
	account, network := or(l.PerAccount, defaultPerAccount), or(l.PerIP, defaultPerIP)
	return limits{
		pair: Limit{Free: min(freeAttempts, account.Attempts), Most: account.Attempts, Window: account.Window,
			FirstDelay: firstDelay, Ceiling: account.Window},
		account: Limit{Free: account.Attempts, Window: account.Window, FirstDelay: firstDelay, Ceiling: ceiling},
		network: Limit{Free: network.Attempts, Most: network.Attempts, Window: network.Window},
	}
}

// networkOf is what one caller of an address holds at least (SECURITY I11): an IPv4
// address, or the /64 of which everyone has 2^64 addresses.
func networkOf(from netip.Addr) string {
	from = from.Unmap().WithZone("")
	if !from.IsValid() {
		return "none" // a Unix socket
	}
	bits := 64
	if from.Is4() {
		bits = 32
	}
	prefix, _ := from.Prefix(bits) // fails for impossible bits only
	return prefix.String()
}

// counter is one count of an attempt.
type counter struct {
	by    string // what is counted: a label of the metric
	key   string
	limit Limit
	own   bool // of one caller alone, as far as we can tell
}

// The ways to count, as the metric has them.
const (
	byNetwork = "network" // all attempts from one network
	byPair    = "pair"    // one account from one network
	byAccount = "account" // one account from everywhere
	byDevice  = "device"  // one account from one known device
	byCode    = "code"    // second factors
)

// count counts an attempt with each of the counters until one refuses; then the
// error is a *Throttled.
func (a *Accounts) count(ctx context.Context, counters []counter) error {
	for _, c := range counters {
		after, err := a.throttle.Attempt(ctx, c.key, c.limit)
		if err != nil {
			return fmt.Errorf("counting an attempt: %w: %w", ErrUnavailable, err)
		}
		if after > 0 {
			a.metrics.throttled[c.by].Add(0, 1)
			return &Throttled{After: after}
		}
	}
	return nil
}

// forget is for who has proved who he is: what was counted against him alone is
// cleared; of what others share only his own attempt is taken back, or an attacker
// would buy attempts by logging into an account of his own. A store that is away
// keeps counts that it should not, for a window: that is logged, and refuses nobody.
func (a *Accounts) forget(ctx context.Context, counters []counter) {
	for _, c := range counters {
		var err error
		if c.own {
			err = a.throttle.Clear(ctx, c.key)
		} else {
			err = a.throttle.Refund(ctx, c.key)
		}
		if err != nil {
			a.log.Warn().Err(err).Str("by", c.by).Msg("attempts of a successful login are not forgotten")
		}
	}
}

// key names a count without naming anybody: an HMAC of what it counts (SECURITY I11),
// so that no store, log or dump of it tells who tried to log in, or that he exists.
func (a *Accounts) key(by string, parts ...string) string {
	return by + "." + a.seals.mac("throttle", append([]string{by}, parts...)...)
}

func (a *Accounts) networkCounter(from netip.Addr) counter {
	return counter{byNetwork, a.key(byNetwork, networkOf(from)), a.limits.network, false}
}

func (a *Accounts) pairCounter(email string, from netip.Addr) counter {
	return counter{byPair, a.key(byPair, email, networkOf(from)), a.limits.pair, true}
}

func (a *Accounts) accountCounter(email string) counter {
	return counter{byAccount, a.key(byAccount, email), a.limits.account, false}
}

// codeCounters count second factors, apart from passwords: where names where the
// code came from.
func (a *Accounts) codeCounters(userID, where string) []counter {
	return []counter{
		{byCode, a.key(byCode, userID, where), a.limits.pair, true},
		{byCode, a.key(byCode, userID), a.limits.account, false},
	}
}
