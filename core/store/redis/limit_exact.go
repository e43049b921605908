package redis

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/suuupra/gateway/core/limit"
)

//go:embed limit_exact.lua
var limitExactScript string

// limitWithin is how long a request waits for its decision by default.
const limitWithin = 20 * time.Millisecond

// epochKey tells since when there is data: see limit_counter.lua.
const epochKey = "rate_limit:epoch"

// keyFault is how a script's error begins that is about one key.
const keyFault = "LIMITKEY "

// ExactOptions are what NewExactLimits needs.
type ExactOptions struct {
	// Timeout is how long Take waits for Redis; default 20 ms.
	Timeout time.Duration
	// LeaseLife is the lifetime of leases that other instances may take from the same
	// counters. In a Redis that has had data for less than that, a bucket that is not there
	// starts when it is over, and empty. 0: there are none.
	LeaseLife time.Duration
}

// ExactLimits counts in Redis, for all instances, by its clock: each request is one call
// of a script that charges all counters or none. It is safe for concurrent use.
//
// In a cluster, where counters lie in different slots, it is one call for each slot, all
// at once. If one denies, the others are given back what they took; until then they
// may deny others. If one fails the others stay charged: they deny more, never less.
// The epoch (ExactOptions.LeaseLife) is one for each slot, which is lost with the data of
// that slot and moves with it.
//
// A call that is late may still be run, so no call is ever made twice.
//
// A Redis that loses its data, or a replica that takes over without the last of them, admits
// what was lost once more: for each such time at most the policy's capacity.
type ExactLimits struct {
	client   *Client
	gate     *gate
	exact    *script
	refund   *script
	life     string   // of leases, in microseconds
	epochs   []string // the key of the epoch, of each slot in a cluster; nil without leases
	cluster  bool
	known    atomic.Pointer[map[limitNumbers]limitTerms]
	learning sync.Mutex // of who writes known
	splits   sync.Pool
}

var _ limit.Store = (*ExactLimits)(nil)

// NewExactLimits returns the store. Close it before the client.
func NewExactLimits(client *Client, o ExactOptions) *ExactLimits {
	if o.Timeout <= 0 {
		o.Timeout = limitWithin
	}
	e := &ExactLimits{
		client: client, gate: newGate(client, o.Timeout), exact: newScript(limitCounterScript + limitExactScript), refund: newScript(limitRefundScript),
		life: strconv.FormatInt(max(o.LeaseLife, 0).Microseconds(), 10), cluster: client.options.Mode == Cluster,
	}
	e.splits.New = func() any {
		s := &split{timer: time.NewTimer(time.Hour)}
		s.timer.Stop()
		return s
	}
	e.known.Store(&map[limitNumbers]limitTerms{})
	if o.LeaseLife > 0 {
		e.epochs = epochKeys(client.prefix, e.cluster)
	}
	return e
}

// epochKeys are the names of the epochs; those of a cluster lie each in its slot.
func epochKeys(prefix string, cluster bool) []string {
	if !cluster {
		return []string{prefix + epochKey}
	}
	keys := slotTags()
	for slot, tag := range keys {
		keys[slot] = prefix + epochKey + ":{" + tag + "}"
		if own := slotOf([]byte(keys[slot])); int(own) != slot { // the prefix has braces: all is in one slot
			keys[slot] = prefix + epochKey
		}
	}
	return keys
}

// Close ends the store's goroutines, after the answers that they wait for. Take fails
// after it.
func (e *ExactLimits) Close() { e.gate.close() }

// Take is limit.Store's. It waits for the timeout at most, however Redis behaves.
// An error that is a limit.ErrCounter is about one key, and Redis is well.
func (e *ExactLimits) Take(charges []limit.Charge) (denied int, err error) {
	if len(charges) == 0 {
		return limit.Admitted, nil
	}
	if e.cluster && !e.oneSlot(charges) {
		denied, err = e.takeSplit(charges)
	} else {
		denied, err = e.takeTogether(charges)
	}
	if err != nil {
		return 0, fmt.Errorf("counting in Redis: %w", err)
	}
	return denied, nil
}

// takeTogether decides by one call.
func (e *ExactLimits) takeTogether(charges []limit.Charge) (int, error) {
	a := e.gate.borrow(e.exact)
	a.arguments = append(a.arguments, e.life)
	for i := range charges {
		if err := e.add(a, &charges[i]); err != nil {
			e.gate.put(a)
			return 0, err
		}
	}
	e.complete(a)
	if err := e.gate.do(a); err != nil {
		return 0, err
	}
	defer e.gate.put(a)
	d, err := readDecision(a.answer, len(charges))
	if err != nil {
		return 0, err
	}
	for i := range charges {
		if err := d.report(i, &charges[i]); err != nil {
			return 0, err
		}
	}
	return d.denied, nil
}

// add writes a charge's key and arguments into an ask.
func (e *ExactLimits) add(a *ask, c *limit.Charge) error {
	if c.Cost < 1 || c.Cost > limit.Largest {
		return fmt.Errorf("a charge costs from 1 to %d tokens, not %d: %w", limit.Largest, c.Cost, limit.ErrCounter)
	}
	terms, err := e.terms(c.Policy)
	if err != nil {
		return err
	}
	cost := c.Cost
	if c.Bypass {
		cost = -cost
	}
	a.arguments = append(a.arguments, strconv.FormatInt(cost, 10))
	a.arguments = append(a.arguments, terms.arguments[:]...)
	a.name(e.client.prefix, c.Key)
	return nil
}

// name adds a key to those that complete makes.
func (a *ask) name(prefix string, key []byte) {
	a.names = append(append(a.names, prefix...), key...)
	a.ends = append(a.ends, len(a.names))
}

// complete makes the keys of what was added: one string, of which they are parts.
func (e *ExactLimits) complete(a *ask) {
	if e.cluster {
		a.slot = slotOf(a.names[:a.ends[0]])
	}
	names, begin := string(a.names), 0
	for _, end := range a.ends {
		a.keys = append(a.keys, names[begin:end])
		begin = end
	}
	if e.epochs != nil && a.script != e.refund {
		a.keys = append(a.keys, e.epochs[int(a.slot)%len(e.epochs)])
	}
}

// limitNumbers are what the script needs to know of a policy.
type limitNumbers struct {
	algorithm    limit.Algorithm
	count, burst int64
	per          time.Duration
}

// limitTerms are a policy's numbers as the script wants them.
type limitTerms struct {
	arguments [5]string
	token     int64 // parts
}

// mostTerms is how many policies are kept as text; more are written anew.
const mostTerms = 4096

func (e *ExactLimits) terms(p *limit.Policy) (limitTerms, error) {
	n := limitNumbers{p.Algorithm, p.Count, p.Burst, p.Per}
	if known, ok := (*e.known.Load())[n]; ok {
		return known, nil
	}
	if err := p.Validate(); err != nil {
		return limitTerms{}, fmt.Errorf("policy %q: %w: %w", p.Name, err, limit.ErrCounter)
	}
	t := newLimitTerms(p)
	e.learning.Lock()
	defer e.learning.Unlock()
	old := *e.known.Load()
	next := map[limitNumbers]limitTerms{n: t}
	if len(old) < mostTerms {
		maps.Copy(next, old)
	}
	e.known.Store(&next)
	return t, nil
}

func newLimitTerms(p *limit.Policy) limitTerms {
	text := func(n int64) string { return strconv.FormatInt(n, 10) }
	per := p.Per.Microseconds()
	switch p.Algorithm {
	case limit.TokenBucket:
		g := p.Grain()
		return limitTerms{[5]string{"b", text(g.Tick.Microseconds()), text(g.Token), text(g.Gain), text(p.Burst)}, g.Token}
	case limit.SlidingWindow:
		return limitTerms{[5]string{"w", text(p.Count), text(per), text((per + windowSlots - 2) / (windowSlots - 1)), "0"}, 1}
	default:
		return limitTerms{[5]string{"l", text(p.Count), text(per), "0", "0"}, 1}
	}
}

// windowSlots is how many slots a window's span touches.
const windowSlots = 64

// perCharge is how many numbers the answer has for each.
const perCharge = 5

// decision is the script's answer.
type decision struct {
	denied int   // limit.Admitted or the index of the first that denies
	at     int64 // by the server's clock, in microseconds
	values []rueidis.RedisMessage
}

var errGarbled = errors.New("the answer of the script is no decision; is something between us and Redis?")

// readDecision takes nothing but what the script can have answered about n charges.
func readDecision(answer rueidis.RedisResult, n int) (decision, error) {
	values, err := answer.ToArray()
	if failed, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(failed.Error(), keyFault) {
		return decision{}, fmt.Errorf("%s: %w", strings.TrimPrefix(failed.Error(), keyFault), limit.ErrCounter)
	} else if err != nil {
		return decision{}, err
	}
	if len(values) != 2+perCharge*n {
		return decision{}, errGarbled
	}
	first, err := values[0].ToInt64()
	if err != nil || first < 0 || first > int64(n) {
		return decision{}, errGarbled
	}
	at, err := values[1].ToInt64()
	if err != nil || at < 0 {
		return decision{}, errGarbled
	}
	return decision{denied: int(first) - 1, at: at, values: values[2:]}, nil
}

// report sets what the decision says of charge i of those that were asked for.
func (d *decision) report(i int, c *limit.Charge) error {
	var v [perCharge]int64
	for k := range v {
		n, err := d.values[perCharge*i+k].ToInt64()
		if err != nil {
			return errGarbled
		}
		v[k] = n
	}
	remaining, reset, wait := v[0], v[1], v[2]
	if remaining < 0 || remaining > c.Policy.Capacity() || reset < 0 || wait < -1 ||
		c.Bypass && wait != 0 || d.denied == i && wait == 0 || wait != 0 && (d.denied == limit.Admitted || i < d.denied) {
		return errGarbled
	}
	c.Remaining, c.Reset, c.Wait = remaining, microseconds(reset), limit.Never
	if wait >= 0 {
		c.Wait = microseconds(wait)
	}
	return nil
}

// microseconds is n of them, or as many as fit below Never.
func microseconds(n int64) time.Duration {
	if n > math.MaxInt64/1000 {
		return limit.Never - 1
	}
	return time.Duration(n) * time.Microsecond
}
