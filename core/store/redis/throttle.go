package redis

import (
	"context"
	_ "embed" // the scripts
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/account"
)

var (
	//go:embed throttle.lua
	throttleScript string
	//go:embed throttle_refund.lua
	refundScript string
)

// loginSpace is where attempts are counted.
const loginSpace = "login_attempts:"

// throttleWithin is how long a login waits for Redis before it is counted here.
const throttleWithin = 500 * time.Millisecond

// Throttle counts attempts to log in for all instances. While Redis can't, because it
// is away or a replica that takes no writes, each instance counts by itself: then an
// attacker has as many attempts as there are instances, and nobody is locked out. It
// may be used concurrently.
type Throttle struct {
	client *Client
	local  account.Throttle
	log    zerolog.Logger
	count  *rueidis.Lua
	refund *rueidis.Lua
	away   atomic.Bool // written when Redis goes and comes
}

var _ account.Throttle = (*Throttle)(nil)

// NewThrottle returns one that counts in Redis, and in local while that is away.
func NewThrottle(client *Client, local account.Throttle) *Throttle {
	return &Throttle{client: client, local: local, log: client.log,
		count: rueidis.NewLuaScript(throttleScript), refund: rueidis.NewLuaScript(refundScript)}
}

// Attempt is account.Throttle's. It fails only as local does.
func (t *Throttle) Attempt(ctx context.Context, key string, limit account.Limit) (time.Duration, error) {
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	arguments := []string{strconv.Itoa(limit.Free), strconv.Itoa(limit.Most), ms(limit.Window), ms(limit.FirstDelay), ms(limit.Ceiling)}
	wait, ok := t.run(ctx, t.count, key, arguments)
	if !ok {
		return t.local.Attempt(ctx, key, limit)
	}
	return time.Duration(wait) * time.Millisecond, nil
}

// Refund is account.Throttle's. It is done in both places: the attempt may have been
// counted in either.
func (t *Throttle) Refund(ctx context.Context, key string) error {
	t.run(ctx, t.refund, key, nil)
	return t.local.Refund(ctx, key)
}

// Clear is account.Throttle's; in both places as well.
func (t *Throttle) Clear(ctx context.Context, key string) error {
	short, cancel := t.within(ctx)
	defer cancel()
	raw := t.client.Raw()
	t.see(raw.Do(short, raw.B().Del().Key(t.client.Key(loginSpace, key)).Build()).Error())
	return t.local.Clear(ctx, key)
}

// run runs a script in one call; ok is false if Redis did not do it.
func (t *Throttle) run(ctx context.Context, script *rueidis.Lua, key string, arguments []string) (n int64, ok bool) {
	short, cancel := t.within(ctx)
	defer cancel()
	n, err := script.Exec(short, t.client.Raw(), []string{t.client.Key(loginSpace, key)}, arguments).AsInt64()
	return n, t.see(err) && n >= 0
}

// within gives Redis its time, whoever left meanwhile: an attempt is counted even if
// its caller does not wait for the answer.
func (t *Throttle) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), throttleWithin)
}

// see notes whether Redis did what it was asked, and tells of a change once.
func (t *Throttle) see(err error) bool {
	if was := t.away.Swap(err != nil); was != (err != nil) {
		if err != nil {
			t.log.Warn().Err(err).Msg("attempts to log in are counted at each instance")
		} else {
			t.log.Info().Msg("attempts to log in are counted for all instances")
		}
	}
	return err == nil
}
