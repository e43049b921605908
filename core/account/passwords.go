package account

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/suuupra/gateway/core/background"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/setting"
)

// floor is how long a comparison that fails takes at the least, from when it began.
// All of them run argon2id or bcrypt for real; the floor hides what differs by the
// hash: a bcrypt of cost 10 or an argon2id of 64 MiB shows who has not logged in
// since the parameters changed, so that he exists. What costs more than this still
// shows, until its owner's next login upgrades it.
const floor = 250 * time.Millisecond

// PasswordsOptions are what Passwords needs; all may be left out.
type PasswordsOptions struct {
	Breached *Breached  // refused when a password is set
	Meter    *meter.Set // for the pool's gauges
	// Beside is where hashing leaves requests their places; nil: one of its own.
	Beside *background.Places
}

// Passwords hashes and compares passwords, few at a time. It may be used concurrently,
// and one is enough for a process: the bound is for all of it.
type Passwords struct {
	breached *Breached
	pool     *pool
	cost     cost
	floor    time.Duration
	dummy    *argonHash // what is compared where there is nothing to compare with
}

// NewPasswords returns one that hashes on half the cores.
func NewPasswords(o PasswordsOptions) *Passwords {
	if o.Beside == nil {
		o.Beside = background.New()
	}
	p := &Passwords{breached: o.Breached, pool: newPool(runtime.GOMAXPROCS(0)/2, o.Beside), cost: current, floor: floor, dummy: dummyHash(current)}
	if o.Meter != nil {
		o.Meter.Gauge("gateway_passwords_hashing", "Passwords that are being hashed now.", func() float64 { return float64(len(p.pool.places)) })
		o.Meter.Gauge("gateway_passwords_waiting", "Logins that wait for their turn to hash a password.", func() float64 { return float64(p.pool.waiting.Load()) })
	}
	return p
}

// Check says why a password may not be set, with ErrPassword, or nil.
func (p *Passwords) Check(password string) error {
	if err := CheckRules(password); err != nil {
		return err
	}
	if p.breached.Holds(password) {
		return fmt.Errorf("%w: it is known from a breach of another service", ErrPassword)
	}
	return nil
}

// Hash returns the hash of a password to store. It does not look at the rules; the
// error is ErrBusy.
func (p *Passwords) Hash(ctx context.Context, password string) (setting.Secret, error) {
	var text string
	err := p.pool.run(ctx, func(r *room) { text = newArgonHash(password, p.cost, r).text() })
	return setting.NewSecret(text), err
}

// match is what a comparison found.
type match struct {
	right    bool
	outdated bool // right, and to be hashed anew
}

// compare looks whether a password is the one of a stored hash. Without a hash, with
// one that can't be used (then there is an error beside the answer, for the log), and
// for passwords that nobody can have set, something is compared all the same, at the
// price that others pay.
func (p *Passwords) compare(ctx context.Context, stored setting.Secret, password string) (match, error) {
	var against hash = p.dummy
	var unusable error
	if !stored.IsZero() {
		if h, err := parseHash(stored.Reveal()); err == nil {
			against = h
		} else {
			unusable = err
		}
	}
	if len(password) > maxPasswordBytes {
		against, password = p.dummy, ""
	}
	var began time.Time
	var m match
	err := p.pool.run(ctx, func(r *room) {
		began = time.Now()
		m.right = against.matches(password, r)
	})
	if err != nil {
		return match{}, err
	}
	if m.right {
		m.outdated = against.outdated(p.cost)
		return m, unusable
	}
	linger(ctx, time.Until(began.Add(p.floor)))
	return m, unusable
}

// linger waits, by the machine's clock because it hides what the machine did, unless
// the caller leaves.
func linger(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
