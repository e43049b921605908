package redis_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

const hour = time.Hour

// counted is a server, an exact store there, and what lies under its keys.
type counted struct {
	*redis.ExactLimits
	t      *testing.T
	server *testenv.RedisServer
	prefix string
}

func countedOf(t *testing.T, o redis.ExactOptions) *counted {
	t.Helper()
	server := testenv.Redis(t)
	o.Timeout = patient
	return &counted{exactOf(t, redis.Options{Addresses: []string{server.Address()}, Prefix: prefixOf(t)}, o), t, server, prefixOf(t)}
}

func (c *counted) do(words ...string) string { return c.server.Do(c.t, words...) }

func (c *counted) number(words ...string) int64 {
	c.t.Helper()
	answer := c.do(words...)
	n, err := strconv.ParseInt(strings.TrimPrefix(answer, ":"), 10, 64)
	if err != nil {
		c.t.Fatalf("%v: %q", words, answer)
	}
	return n
}

func (c *counted) now() int64 { // in microseconds
	return c.number("EVAL", "local t = redis.call('TIME') return t[1]*1000000+t[2]", "0")
}

// take charges one counter.
func (c *counted) take(p *limit.Policy, key string, cost int64) limit.Charge {
	c.t.Helper()
	cs := []limit.Charge{{Policy: p, Key: []byte(key), Cost: cost}}
	if _, err := c.Take(cs); err != nil {
		c.t.Fatal(err)
	}
	return cs[0]
}

// wants fails the test unless a charge is admitted and leaves so many tokens.
func (c *counted) wants(p *limit.Policy, key string, cost, remaining int64) {
	c.t.Helper()
	if got := c.take(p, key, cost); got.Wait != 0 || got.Remaining != remaining {
		c.t.Fatalf("%s: a charge of %d waits %s, %d remain; want %d", key, cost, got.Wait, got.Remaining, remaining)
	}
}

func (c *counted) denies(p *limit.Policy, key string, cost int64) limit.Charge {
	c.t.Helper()
	got := c.take(p, key, cost)
	if got.Wait == 0 {
		c.t.Fatalf("%s: a charge of %d is admitted, %d remain", key, cost, got.Remaining)
	}
	return got
}

func TestExactKeysExpire(t *testing.T) {
	t.Parallel()
	c := countedOf(t, redis.ExactOptions{})
	for _, a := range []limit.Algorithm{limit.TokenBucket, limit.SlidingWindow, limit.SlidingLog} {
		p := policyOf(a, 10, hour)
		key := a.String()
		for range 3 { // every write
			got := c.take(p, key, 1)
			c.do("PERSIST", c.prefix+key)
			got = c.take(p, key, 1)
			left := time.Duration(c.number("PTTL", c.prefix+key)) * time.Millisecond
			if left < got.Reset-time.Second || left > got.Reset+time.Minute {
				t.Errorf("%s: all is there again in %s, and the key lives %s", a, got.Reset, left)
			}
		}
		c.do("PERSIST", c.prefix+key)
		c.denies(p, key, 10)
		if left := c.number("PTTL", c.prefix+key); left != -1 {
			t.Errorf("%s: a denial wrote", a)
		}
	}
	if got := c.do("EXISTS", c.prefix+"rate_limit:epoch"); got != ":0" {
		t.Error("there is an epoch, and there are no leases")
	}
}

// The clock of the server went back: what is written is in the future.
func TestExactClockBack(t *testing.T) {
	t.Parallel()
	c := countedOf(t, redis.ExactOptions{})
	future := strconv.FormatInt(c.now()+3600_000_000*100, 10)
	p := policyOf(limit.TokenBucket, 10, hour)
	c.wants(p, "bucket", 10, 0)
	c.do("HSET", c.prefix+"bucket", "t", future)
	if got := c.denies(p, "bucket", 1); got.Wait > hour/10 || got.Wait < hour/10-time.Second {
		t.Errorf("a token of the bucket is there in %s, want %s", got.Wait, hour/10)
	}
	if at := c.number("HGET", c.prefix+"bucket", "t"); at > c.now() {
		t.Error("the denial left the bucket in the future")
	}
	c.wants(p, "whole", 1, 9)
	c.do("HSET", c.prefix+"whole", "t", future)
	c.wants(p, "whole", 1, 8)

	p = policyOf(limit.SlidingWindow, 10, hour)
	c.wants(p, "window", 10, 0)
	slot, width := c.number("HGET", c.prefix+"window", "h"), c.number("HGET", c.prefix+"window", "w")
	ahead := strconv.FormatInt(slot+7, 10)
	c.do("HDEL", c.prefix+"window", strconv.FormatInt(slot, 10))
	c.do("HSET", c.prefix+"window", "f", ahead, "h", ahead, ahead, "10")
	for range 2 {
		if got := c.denies(p, "window", 1); got.Wait > hour+time.Duration(width)*time.Microsecond {
			t.Errorf("a token of the window is there in %s", got.Wait)
		}
	}
	if h := c.number("HGET", c.prefix+"window", "h"); h > slot+1 {
		t.Errorf("the denial left the window's last slot at %d, and it is %d", h, slot)
	}

	p = policyOf(limit.SlidingLog, 10, hour)
	c.wants(p, "log", 4, 6)
	c.do("ZADD", c.prefix+"log", future, "0000000000000010:6")
	if got := c.denies(p, "log", 1); got.Wait > hour || got.Remaining != 0 {
		t.Errorf("a token of the log is there in %s, %d remain", got.Wait, got.Remaining)
	}
	if got := c.denies(p, "log", 1); got.Wait > hour || c.do("ZCARD", c.prefix+"log") != ":1" {
		t.Errorf("then in %s, of %s entries", got.Wait, c.do("ZCARD", c.prefix+"log"))
	}
}

// What is out on lease is no debt that a bucket gains back, and its key is its lender's.
func TestExactKeepsWhatIsOnLease(t *testing.T) {
	t.Parallel()
	c := countedOf(t, redis.ExactOptions{})
	p := policyOf(limit.TokenBucket, 10, time.Second) // a part is a tenth of a microsecond
	parts := p.Grain().Token
	key := c.prefix + "bucket"
	c.wants(p, "bucket", 6, 4)
	c.do("HSET", key, "o", strconv.FormatInt(5*parts, 10))
	c.do("PEXPIRE", key, "3600000")
	time.Sleep(1100 * time.Millisecond) // all would be there again
	c.wants(p, "bucket", 1, 4)
	if d, o := c.number("HGET", key, "d"), c.number("HGET", key, "o"); d != 6*parts || o != 5*parts {
		t.Errorf("the debt is %d parts, on lease are %d", d, o)
	}
	if left := c.number("PTTL", key); left < 3_500_000 {
		t.Errorf("the key lives %d ms", left)
	}
	c.denies(p, "bucket", 6)
	// Another policy counts in other parts.
	p = &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: 7, Per: hour, Burst: 20}
	c.wants(p, "bucket", 1, 20-7)
	if o := c.number("HGET", key, "o"); o != 5*p.Grain().Token {
		t.Errorf("on lease are %d parts of %d a token", o, p.Grain().Token)
	}
}

func TestExactEpoch(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	const life = time.Second
	c := &counted{exactOf(t, redis.Options{Addresses: []string{server.Address()}}, redis.ExactOptions{Timeout: patient, LeaseLife: life}), t, server, ""}
	p := policyOf(limit.TokenBucket, 100, hour)
	for range 2 { // the second time it was wiped
		begun := time.Now()
		if got := c.denies(p, "a", 1); got.Wait < hour/100-time.Second {
			t.Errorf("a bucket that starts empty has a token in %s", got.Wait)
		}
		if epoch := c.number("GET", "rate_limit:epoch"); epoch > c.now() || epoch < c.now()-time.Minute.Microseconds() {
			t.Errorf("the epoch is %d, now is %d", epoch, c.now())
		}
		if got := c.denies(policyOf(limit.TokenBucket, 10, 10*time.Millisecond), "quick", 10); got.Wait > life+10*time.Millisecond || got.Wait < life+10*time.Millisecond-time.Since(begun) {
			t.Errorf("a bucket that is empty and begins %s later is full in %s", life, got.Wait)
		}
		var full limit.Charge
		for i := 0; full.Wait != 0 || i == 0; i++ { // new ones are full when no lease of before lives
			full = c.take(p, "new"+strconv.Itoa(i), 100)
			if took := time.Since(begun); full.Wait == 0 && took < life || took > 10*time.Second {
				t.Fatalf("after %s: %+v", took, full)
			}
			time.Sleep(10 * time.Millisecond)
		}
		c.denies(p, "a", 1) // it gains by its rate alone
		server.FlushAll(t)
	}
	for _, odd := range []string{"soon", "-1", strconv.FormatInt(c.now()+1e12, 10)} {
		c.do("SET", "rate_limit:epoch", odd)
		c.denies(p, odd, 1)
		if epoch := c.number("GET", "rate_limit:epoch"); epoch > c.now() || epoch < 1e12 {
			t.Errorf("the epoch %s became %d", odd, epoch)
		}
	}
}

// The ticks of a policy change with it: those of t are not told.
func TestExactTicksChange(t *testing.T) {
	t.Parallel()
	c := countedOf(t, redis.ExactOptions{})
	fine := &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: 1, Per: 24 * hour, Burst: 1000}
	coarse := &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: 1, Per: 24 * hour, Burst: 900_000_000}
	if fine.Grain().Tick == coarse.Grain().Tick || coarse.Validate() != nil {
		t.Fatal("their ticks are the same")
	}
	c.wants(fine, "u", 10, 990)
	c.wants(coarse, "u", 1, 900_000_000-11)
	c.wants(fine, "u", 1, 1000-12)
	c.wants(coarse, "u", 1, 900_000_000-13)
	// A debt above what the new policy holds is all of that.
	c.wants(coarse, "u", 800_000_000, 100_000_000-13)
	if got := c.denies(fine, "u", 1); got.Wait > 24*hour {
		t.Errorf("the next token is there in %s", got.Wait)
	}
}

func TestExactWindowBecomesLog(t *testing.T) {
	t.Parallel()
	c := countedOf(t, redis.ExactOptions{})
	window, log := policyOf(limit.SlidingWindow, 10, hour), policyOf(limit.SlidingLog, 10, hour)
	c.wants(window, "u", 2, 8)
	c.wants(log, "u", 3, 5)
	c.wants(log, "u", 1, 4)
	c.wants(window, "u", 2, 2)
	c.wants(window, "u", 1, 1)
	c.wants(log, "u", 1, 0)
	for _, p := range []*limit.Policy{window, log, window, log} {
		if got := c.denies(p, "u", 1); got.Wait > hour+hour/63+time.Second || got.Wait < hour-time.Minute {
			t.Errorf("%s waits %s", p.Algorithm, got.Wait)
		}
	}
	short, brief := policyOf(limit.SlidingLog, 10, time.Millisecond), policyOf(limit.SlidingWindow, 10, time.Millisecond)
	time.Sleep(5 * time.Millisecond)
	c.take(short, "u", 1)
	time.Sleep(5 * time.Millisecond)
	c.wants(brief, "u", 3, 7)
	time.Sleep(5 * time.Millisecond)
	c.wants(short, "u", 3, 7)
}

// A window of another span keeps what it has by when that was.
func TestExactWindowKeepsItsSlots(t *testing.T) {
	t.Parallel()
	c := countedOf(t, redis.ExactOptions{})
	p := policyOf(limit.SlidingWindow, 100, hour)
	width := int64(3600_000_000+62) / 63
	slot := c.now() / width
	at := func(s int64) string { return strconv.FormatInt(s, 10) }
	c.do("HSET", c.prefix+"u", "n", "60", "f", at(slot-62), "h", at(slot-1), "w", at(width), at(slot-62), "10", at(slot-31), "20", at(slot-1), "30")
	c.wants(policyOf(limit.SlidingWindow, 100, hour/4), "u", 1, 100-1-30) // the rest was longer ago
	c.wants(policyOf(limit.SlidingWindow, 100, hour/4), "u", 1, 100-2-30)
	c.wants(policyOf(limit.SlidingWindow, 100, 100*hour), "u", 1, 100-3-30)
	if n := c.number("HGET", c.prefix+"u", "n"); n != 33 {
		t.Errorf("it counts %d", n)
	}
	// What goes by is taken off, slot by slot.
	c.do("DEL", c.prefix+"u")
	c.do("HSET", c.prefix+"u", "n", "60", "f", at(slot-80), "h", at(slot-1), "w", at(width), at(slot-80), "10", at(slot-70), "20", at(slot-1), "30")
	c.wants(p, "u", 1, 69)
	if got := c.do("HLEN", c.prefix+"u"); got != ":6" {
		t.Errorf("it has %s fields, want n, f, h, w and two slots", got)
	}
}

// A log forgets what is gone, a thousand at a time, and counts right meanwhile.
func TestExactLogForgets(t *testing.T) {
	t.Parallel()
	c := countedOf(t, redis.ExactOptions{})
	p := policyOf(limit.SlidingLog, 10, hour)
	c.do("EVAL", `for i = 1, 2500 do redis.call('ZADD', KEYS[1], ARGV[1] + i, string.format('%016d:2', 2 * i)) end`, "1", c.prefix+"u",
		strconv.FormatInt(c.now()-2*hour.Microseconds(), 10))
	for i, want := range []string{":1501", ":502", ":3"} {
		c.wants(p, "u", 3, int64(7-3*i))
		if got := c.do("ZCARD", c.prefix+"u"); got != want {
			t.Fatalf("%s entries, want %s", got, want)
		}
	}
	c.denies(p, "u", 2)
	// The sum of all would no more be exact.
	c.do("DEL", c.prefix+"u")
	c.do("ZADD", c.prefix+"u", strconv.FormatInt(c.now(), 10), "4503599627370498:4")
	c.wants(p, "u", 1, 5)
	c.wants(p, "u", 1, 4)
	if got := c.do("ZRANGE", c.prefix+"u", "-1", "-1"); got != "*1" {
		t.Error(got)
	}
}

// What is none of ours is told by its name, denies nobody else, and is left alone.
func TestExactOddKeys(t *testing.T) {
	t.Parallel()
	c := countedOf(t, redis.ExactOptions{})
	algorithms := map[limit.Algorithm][][]string{
		limit.TokenBucket: {
			{"SET", "KEY", "text"}, {"RPUSH", "KEY", "1"}, {"HSET", "KEY", "d", "many"}, {"HSET", "KEY", "d", "1"},
			{"HSET", "KEY", "d", "-1", "t", "1", "g", "1"}, {"HSET", "KEY", "d", "1", "t", "1.5", "g", "1"}, {"HSET", "KEY", "d", "1", "t", "1", "g", "0"},
			{"HSET", "KEY", "d", "nan", "t", "1", "g", "1"}, {"HSET", "KEY", "d", "1e300", "t", "1", "g", "1"}, {"HSET", "KEY", "d", "1", "t", "1", "g", "1", "o", "x"},
		},
		limit.SlidingWindow: {
			{"SET", "KEY", "text"}, {"RPUSH", "KEY", "1"}, {"ZADD", "KEY", "1", "x"}, {"HSET", "KEY", "n", "x"},
			{"HSET", "KEY", "n", "1", "f", "9", "h", "8", "w", "1"}, {"HSET", "KEY", "n", "1", "f", "1", "h", "99999", "w", "1"},
			{"HSET", "KEY", "n", "1", "f", "1", "h", "2", "w", "0"}, {"HSET", "KEY", "n", "1", "f", "1", "h", "2", "w", "57142858", "1", "7"},
		},
		limit.SlidingLog: {
			{"SET", "KEY", "text"}, {"RPUSH", "KEY", "1"}, {"HSET", "KEY", "n", "x"}, {"ZADD", "KEY", "1", "x"}, {"ZADD", "KEY", "inf", "1:1"},
			{"ZADD", "KEY", "9e15", "0000000000000001:1", "8.9e15", "x"}, {"ZADD", "KEY", "9e15", "0000000000000001:1", "8.9e15", "0000000000000009:1"},
		},
	}
	for a, commands := range algorithms {
		p := policyOf(a, 1000, hour)
		for i, command := range commands {
			name := a.String() + strconv.Itoa(i)
			command[1] = c.prefix + name
			if answer := c.do(command...); strings.HasPrefix(answer, "-") {
				t.Fatal(answer)
			}
			other := "other" + name
			cs := []limit.Charge{{Policy: p, Key: []byte(other), Cost: 1}, {Policy: p, Key: []byte(name), Cost: 1}}
			if _, err := c.Take(cs); !errors.Is(err, limit.ErrCounter) || !strings.Contains(err.Error(), c.prefix+name) {
				t.Errorf("%v: %v", command, err)
			}
			if got := c.do("EXISTS", c.prefix+other); got != ":0" {
				t.Errorf("%v: the other counter was charged", command)
			}
			c.wants(p, other, 1, 999)
		}
	}
}
