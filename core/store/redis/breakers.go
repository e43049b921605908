package redis

import (
	"context"
	_ "embed" // the scripts
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/suuupra/gateway/core/upstream"
)

// breakerSpace stands before the keys of breakers (SPEC UP4).
const breakerSpace = "circuit_breaker:"

// breakerKept is how long a record stays beyond the time that it speaks of. When it is gone
// whoever has something to say says it anew.
const breakerKept = 10 * time.Minute

// Numbers have fifteen digits at most, so that Lua's hold them; an epoch leaves room for two
// that follow it (breakers_write.lua).
const (
	mostNumber = 999_999_999_999_999
	mostEpoch  = mostNumber - 2
)

var (
	//go:embed breakers_write.lua
	breakersWriteScript string
	//go:embed breakers_read.lua
	breakersReadScript string
)

// Breakers keeps what instances tell each other of their circuit breakers: a hash for
// each service, circuit_breaker: and its name, which every write and every end of which
// is pushed to those who follow. What else stands there is complained about, read as
// nothing, and replaced by the next write. It may be used concurrently.
type Breakers struct {
	client *Client
	prefix string
	write  *rueidis.Lua
	read   *rueidis.Lua

	mu         sync.Mutex // taken when garbage is met
	complained time.Time
	kept       int // complaints since then that were not made
}

var _ upstream.BreakerStore = (*Breakers)(nil)

// NewBreakers keeps records with client. It owns nothing.
func NewBreakers(client *Client) *Breakers {
	return &Breakers{
		client: client, prefix: client.prefix + breakerSpace,
		// The library loads a script that has a name into every node before it runs it for several
		// keys: one node that is away would keep all records from being read.
		write: rueidis.NewLuaScript(breakersWriteScript), read: rueidis.NewLuaScriptNoSha(breakersReadScript),
	}
}

// Write implements upstream.BreakerStore.
func (b *Breakers) Write(ctx context.Context, service string, after uint64, r upstream.BreakerRecord) (stands upstream.BreakerRecord, written bool, err error) {
	last := int64(0)
	if !r.LastFailure.IsZero() {
		last = min(max(r.LastFailure.UnixMilli(), 0), mostNumber) // whatever this machine's time of day is
	}
	key := b.client.Key(breakerSpace, service)
	answer, err := b.write.Exec(ctx, b.client.Raw(), []string{key}, []string{
		strconv.FormatUint(after, 10), r.State.String(), strconv.FormatUint(min(r.Failures, mostNumber), 10), strconv.FormatInt(last, 10),
		strconv.FormatInt(r.For.Milliseconds(), 10), r.By, strconv.FormatInt((r.For + breakerKept).Milliseconds(), 10),
	}).ToArray()
	if err != nil {
		return stands, false, fmt.Errorf("writing the circuit breaker of %s to Redis: %w", service, err)
	}
	if len(answer) != 1+breakerFields {
		return stands, false, fmt.Errorf("writing the circuit breaker of %s to Redis: %d values answer", service, len(answer))
	}
	how, err := answer[0].AsInt64()
	if err != nil {
		return stands, false, fmt.Errorf("writing the circuit breaker of %s to Redis: %w", service, err)
	}
	if how == 2 {
		b.complain(fmt.Errorf("%s held no circuit breaker, and was replaced", key))
	}
	fields := make([]string, 0, breakerFields)
	for i := range answer[1:] {
		text, err := breakerField(&answer[1+i])
		if err != nil {
			return stands, false, fmt.Errorf("writing the circuit breaker of %s to Redis: %w", service, err)
		}
		fields = append(fields, text)
	}
	stands, err = breakerRecord(0, fields)
	return stands, how > 0, err
}

// breakerFields is how many fields of a hash are read.
const breakerFields = 6

// breakerField is a value that is a string or a number.
func breakerField(m *rueidis.RedisMessage) (string, error) {
	if n, err := m.ToInt64(); err == nil {
		return strconv.FormatInt(n, 10), nil
	}
	return m.ToString()
}

// breakerRecord reads the fields of a hash, whose until is by a clock that shows now, in unix
// ms.
func breakerRecord(now int64, fields []string) (r upstream.BreakerRecord, err error) {
	switch fields[0] {
	case upstream.Open.String():
		r.State = upstream.Open
	case upstream.Closed.String():
		r.State = upstream.Closed
	case upstream.HalfOpen.String():
		r.State = upstream.HalfOpen
	default:
		return r, fmt.Errorf("the state %.40q is none of OPEN, CLOSED and HALF_OPEN", fields[0])
	}
	var numbers [4]int64
	for i, name := range []string{"failures", "lastFailure", "epoch", "until"} {
		n, ok := seconds(fields[1+i])
		if !ok || n > mostNumber {
			return r, fmt.Errorf("%s is no number of at most 15 digits: %.40q", name, fields[1+i])
		}
		numbers[i] = n
	}
	if numbers[2] == 0 || numbers[2] > mostEpoch {
		return r, fmt.Errorf("the epoch is %d, want 1 to %d", numbers[2], int64(mostEpoch))
	}
	r.Failures, r.Epoch, r.By = uint64(numbers[0]), uint64(numbers[2]), fields[5]
	if numbers[1] > 0 {
		r.LastFailure = time.UnixMilli(numbers[1])
	}
	// Beyond a year nothing is meant, and nanoseconds go round.
	const year = 366 * 24 * time.Hour
	r.For = min(time.Duration(min(max(numbers[3]-now, 0), year.Milliseconds()))*time.Millisecond, year)
	return r, nil
}

// Read implements upstream.BreakerStore.
func (b *Breakers) Read(ctx context.Context, services []string) (map[string]upstream.BreakerRecord, error) {
	calls := make([]rueidis.LuaExec, len(services))
	for i, service := range services {
		calls[i].Keys = []string{b.client.Key(breakerSpace, service)}
	}
	found := map[string]upstream.BreakerRecord{}
	var failed error
	for i, answer := range b.read.ExecMulti(ctx, b.client.Raw(), calls...) {
		values, err := answer.ToArray()
		if err != nil {
			failed = fmt.Errorf("reading circuit breakers from Redis: %w", err)
			continue
		}
		switch len(values) {
		case 0:
			continue
		case 1:
			b.complain(fmt.Errorf("%s is no hash", calls[i].Keys[0]))
			continue
		}
		r, err := b.record(values)
		if err != nil {
			b.complain(fmt.Errorf("%s: %w", calls[i].Keys[0], err))
			continue
		}
		found[services[i]] = r
	}
	return found, failed
}

func (b *Breakers) record(values []rueidis.RedisMessage) (r upstream.BreakerRecord, err error) {
	now, err := values[0].ToInt64()
	if err != nil {
		return r, fmt.Errorf("the server's time: %w", err)
	}
	fields := make([]string, 0, breakerFields)
	for i := range values[1:] {
		text, err := values[1+i].ToString()
		if err != nil {
			return r, fmt.Errorf("reading a field: %w", err)
		}
		fields = append(fields, text)
	}
	return breakerRecord(now, fields)
}

// Follow implements upstream.BreakerStore. It is told by the servers of what is written
// (client tracking), and asks for everything where a connection was lost.
func (b *Breakers) Follow(ctx context.Context, told func(services []string)) {
	t := &tracker{
		client: b.client, prefix: b.prefix,
		keys: func(keys []string) {
			services := make([]string, 0, len(keys))
			for _, k := range keys {
				service, err := url.PathUnescape(strings.TrimPrefix(k, b.prefix))
				if err != nil { // a long name, which is hashed
					told(nil)
					return
				}
				services = append(services, service)
			}
			told(services)
		},
		well: func(missed bool) {
			if missed {
				told(nil)
			}
		},
	}
	t.run(ctx)
}

// complain logs, once in a while, that Redis holds what is no breaker.
func (b *Breakers) complain(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); now.Sub(b.complained) >= complainEvery {
		b.client.log.Warn().Err(err).Int("not_told", b.kept).Msg("Redis holds what is no circuit breaker under " + breakerSpace + "; it counts for nothing")
		b.complained, b.kept = now, 0
		return
	}
	b.kept++
}
