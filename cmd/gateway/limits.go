package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/store/redis"
)

// mostDenied is how many counters are remembered of which nothing is left.
const mostDenied = 1 << 16

// trustDenials is for how long the store is not asked about one of them.
const trustDenials = 10 * time.Second

// limits counts requests, by what a running gateway has joined for it. Its policies are
// those of the configuration with those of PostgreSQL over them (SPEC RL7): the table
// changes what a file that many instances share says, and at once.
type limits struct {
	*plugin.Limits
	mode string // where requests are counted, as config.LimiterMode says it
	log  zerolog.Logger

	closes []func()           // what was joined, last first
	table  *postgres.Policies // nil without PostgreSQL
	// What was read last, and the problems that the log has: of openLimits, then of follow.
	rows map[string]*limit.Policy
	told []string

	stop    context.CancelFunc
	running sync.WaitGroup
}

// openLimits joins what cfg names. Nothing that concerns requests runs before start.
func openLimits(cfg *config.Config, s *stores, set *meter.Set, log zerolog.Logger) *limits {
	l := &limits{mode: cfg.LimiterMode(), log: log.With().Str("component", "limits").Logger()}
	l.Limits = &plugin.Limits{Policies: limit.NewPolicies(), Denied: limit.NewDenied(mostDenied, trustDenials)}
	if l.mode == config.LimiterMemory {
		l.joinMemory(set)
	} else {
		l.joinRedis(cfg, s, set)
	}
	if s.db != nil {
		l.table = postgres.NewPolicies(s.db)
		ctx, cancel := context.WithTimeout(context.Background(), openWithin)
		defer cancel()
		l.load(ctx)
	}
	return l
}

// joinMemory counts in this process.
func (l *limits) joinMemory(set *meter.Set) {
	m := limit.NewMemory(clock.Real(), limit.MemoryOptions{})
	l.Store = m
	l.closes = append(l.closes, func() { _ = m.Close() }) // it never fails
	set.Gauge("gateway_rate_limit_counters", "Rate-limit counters that this instance holds in memory.", func() float64 { return float64(m.Len()) })
	set.CounterFunc("gateway_rate_limit_counters_forgotten_total", "Rate-limit counters that had to go for want of room while they still counted.", func() float64 { return float64(m.Forgotten()) })
}

// alone is what an instance does by itself, by the words of the configuration.
var alone = map[string]limit.OnStoreError{"local": limit.Local, "allow": limit.Allow, "deny": limit.Deny}

// joinRedis counts in Redis, and by on_store_error while that does not answer.
func (l *limits) joinRedis(cfg *config.Config, s *stores, set *meter.Set) {
	timeout := time.Duration(cfg.Stores.Redis.Timeout)
	exact := redis.NewExactLimits(s.hot, redis.ExactOptions{Timeout: timeout})
	l.closes = append(l.closes, exact.Close)
	var shared limit.Store = exact
	var answers func() int64
	if l.mode == config.LimiterLeased {
		leased := l.joinLeases(s, exact, timeout, set)
		shared, answers = leased, leased.Answers
	}
	instances := redis.NewLimitInstances(s.cold, clock.Real())
	islands := limit.NewIslands(shared, limit.IslandOptions{
		OnError: alone[cfg.Limiter.OnStoreError], Instances: instances.Count, Probe: exact, Answers: answers, Clock: clock.Real(), Meter: set, Log: l.log,
	})
	l.Store = islands
	l.closes = append(l.closes, instances.Close, func() {
		if err := islands.Close(); err != nil {
			l.log.Error().Err(err).Msg("closing what counts requests failed")
		}
	})
}

// joinLeases counts by leases from Redis, which go back when this instance ends. A Redis
// of which nobody has leased yet opens its counters one lifetime of a lease later: that
// is waited for here, or the first callers of a new installation would find them empty.
func (l *limits) joinLeases(s *stores, exact *redis.ExactLimits, timeout time.Duration, set *meter.Set) *limit.Leased {
	leases := redis.NewLeases(s.hot, redis.LeaseOptions{Timeout: timeout})
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	opens, err := leases.Begin(ctx, limit.LeaseLife)
	if err != nil {
		l.log.Warn().Err(err).Msg("Redis does not count requests yet")
	} else if opens > 0 {
		l.log.Info().Dur("wait_ms", opens).Msg("nobody has leased from this Redis yet: its counters open when no lease from before a loss of its data can be left")
		select {
		case <-time.After(opens):
		case <-ctx.Done():
		}
	}
	leased := limit.NewLeased(limit.LeasedOptions{Lessor: leases, Exact: exact, Clock: clock.Real(), Timeout: timeout, Life: limit.LeaseLife})
	l.closes = append(l.closes, leases.Close, leased.Close)
	for name, c := range map[string]struct {
		help string
		of   func(limit.LeaseCounts) int64
	}{
		"gateway_rate_limit_lease_asks_total":            {"Counters that Redis was asked for leases of; several share a call.", func(c limit.LeaseCounts) int64 { return c.Asks }},
		"gateway_rate_limit_lease_tokens_total":          {"Tokens that this instance took on lease.", func(c limit.LeaseCounts) int64 { return c.Leased }},
		"gateway_rate_limit_lease_tokens_returned_total": {"Tokens on lease that went back unspent.", func(c limit.LeaseCounts) int64 { return c.Returned }},
		"gateway_rate_limit_lease_tokens_lost_total":     {"Tokens on lease that were neither spent nor given back in time.", func(c limit.LeaseCounts) int64 { return c.Lost }},
	} {
		set.CounterFunc(name, c.help, func() float64 { return float64(c.of(leased.Counts())) })
	}
	return leased
}

// whereCounted says which store counts (SPEC S6).
func (l *limits) whereCounted() string {
	if l.mode == config.LimiterMemory {
		return "requests are counted in this process alone: each instance admits what a policy says, and a restart begins anew"
	}
	if l.mode == config.LimiterLeased {
		return "requests are counted here, by tokens taken from Redis ahead of need: all instances together never admit more than a policy says"
	}
	return "requests are counted in Redis, by one call for each: all instances together admit what a policy says"
}

// start runs what keeps policies up to date, until close.
func (l *limits) start() {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	if l.table == nil {
		return
	}
	changed := make(chan struct{}, 1) // one that waits is enough
	l.running.Go(func() {
		l.table.Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	})
	l.running.Go(func() { l.follow(ctx, changed) })
}

// loadEvery is how often the table is read though nobody has told of a change: a
// connection that listens may have died without a word.
const loadEvery = 5 * time.Second

// follow reads the table whenever it may have changed.
func (l *limits) follow(ctx context.Context, changed <-chan struct{}) {
	again := time.NewTicker(loadEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again.C:
		}
		within, cancel := context.WithTimeout(ctx, openWithin)
		l.load(within)
		cancel()
	}
}

// load puts the policies of the table in force. What can't be read leaves them as they
// are: a row that makes no sense, its policy. Each problem is told once, until there is
// another.
func (l *limits) load(ctx context.Context) {
	rows, bad, err := l.table.Load(ctx)
	var problems []string
	switch {
	case ctx.Err() == context.Canceled:
		return
	case err != nil:
		problems = append(problems, err.Error())
	default:
		for _, name := range slices.Sorted(maps.Keys(bad)) {
			problems = append(problems, fmt.Sprintf("policy %.64q: %v", name, bad[name]))
			if last := l.rows[name]; last != nil {
				rows[name] = last
			}
		}
		l.rows = rows
		l.Override(rows)
	}
	if !slices.Equal(problems, l.told) {
		for _, text := range problems {
			l.log.Error().Str("problem", text).Msg("rate_limit_policies can't be put in force as they are; what was in force stays")
		}
		l.told = problems
	}
}

// close ends it all.
func (l *limits) close() {
	if l.stop != nil {
		l.stop()
	}
	l.running.Wait()
	for _, end := range slices.Backward(l.closes) {
		end()
	}
}
