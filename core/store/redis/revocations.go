package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/suuupra/gateway/core/revocation"
)

// revocationSpace stands before the keys of revocations (SPEC ID3).
const revocationSpace = "jwt_blacklist:"

const (
	// scanned is how many keys a step of SCAN looks at, and read how many values are read at once.
	scanned = 1000
	read    = 500
	// complainEvery is how often what is no revocation is complained about.
	complainEvery = time.Minute
)

// Revocations keeps revocations where all instances hear of them at once. A key is
// jwt_blacklist: and the entry's own, its value NotBefore and Expires in unix seconds with a space
// between them, and it expires when the entry does. What else stands there is complained about
// and refused. It may be used concurrently.
type Revocations struct {
	client  *Client
	prefix  string
	publish *rueidis.Lua

	mu         sync.Mutex // taken when garbage is met
	complained time.Time
	kept       int // complaints since then that were not made
}

var _ revocation.Push = (*Revocations)(nil)

//go:embed publish.lua
var publishScript string

// NewRevocations keeps revocations with client. It owns nothing.
func NewRevocations(client *Client) *Revocations {
	return &Revocations{client: client, prefix: client.prefix + revocationSpace, publish: rueidis.NewLuaScript(publishScript)}
}

// Publish implements revocation.Push.
func (r *Revocations) Publish(ctx context.Context, entries []revocation.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	calls := make([]rueidis.LuaExec, len(entries))
	for i, e := range entries {
		calls[i] = rueidis.LuaExec{
			Keys: []string{r.prefix + e.Key},
			Args: []string{strconv.FormatInt(e.NotBefore, 10), strconv.FormatInt(e.Expires, 10)},
		}
	}
	raw := r.client.Raw()
	if len(calls) == 1 {
		if err := r.publish.Exec(ctx, raw, calls[0].Keys, calls[0].Args).Error(); err != nil {
			return fmt.Errorf("writing a revocation to Redis: %w", err)
		}
		return nil
	}
	for _, answer := range r.publish.ExecMulti(ctx, raw, calls...) {
		if err := answer.Error(); err != nil {
			return fmt.Errorf("writing %d revocations to Redis: %w", len(entries), err)
		}
	}
	return nil
}

// Load implements revocation.Push.
func (r *Revocations) Load(ctx context.Context) (entries []revocation.Entry, err error) {
	raw := r.client.Raw()
	err = eachMaster(ctx, raw, func(address string, node rueidis.Client) error {
		for cursor := uint64(0); ; {
			page, err := node.Do(ctx, node.B().Scan().Cursor(cursor).Match(literal(r.prefix)+"*").Count(scanned).Build()).AsScanEntry()
			if err != nil {
				return fmt.Errorf("looking for revocations at %s: %w", address, err)
			}
			some, err := r.values(ctx, raw, page.Elements)
			if err != nil {
				return err
			}
			entries = append(entries, some...)
			if cursor = page.Cursor; cursor == 0 {
				return nil
			}
		}
	})
	return entries, err
}

// literal is a pattern that matches s and nothing else.
func literal(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// Read implements revocation.Push.
func (r *Revocations) Read(ctx context.Context, keys []string) ([]revocation.Entry, error) {
	whole := make([]string, len(keys))
	for i, k := range keys {
		whole[i] = r.prefix + k
	}
	return r.values(ctx, r.client.Raw(), whole)
}

// values reads what is at keys, which are whole ones.
func (r *Revocations) values(ctx context.Context, raw rueidis.Client, keys []string) (entries []revocation.Entry, err error) {
	for len(keys) > 0 {
		n := min(read, len(keys))
		found, err := rueidis.MGet(raw, ctx, keys[:n])
		if err != nil {
			return nil, fmt.Errorf("reading revocations from Redis: %w", err)
		}
		for key, value := range found {
			if value.IsNil() {
				continue // it has gone meanwhile, or is no string
			}
			e, err := r.entry(key, &value)
			if err != nil {
				r.complain(err)
				continue
			}
			entries = append(entries, e)
		}
		keys = keys[n:]
	}
	return entries, nil
}

// entry reads what stands at a key.
func (r *Revocations) entry(key string, value *rueidis.RedisMessage) (e revocation.Entry, err error) {
	text, err := value.ToString()
	if err != nil {
		return e, fmt.Errorf("the value of %.200q is no string: %w", key, err)
	}
	e.Key = strings.TrimPrefix(key, r.prefix)
	notBefore, expires, _ := strings.Cut(text, " ")
	var ok1, ok2 bool
	e.NotBefore, ok1 = seconds(notBefore)
	e.Expires, ok2 = seconds(expires)
	if !ok1 || !ok2 {
		return e, fmt.Errorf("the value of %.200q is not two times", key)
	}
	return e, e.Check()
}

// seconds reads a number as strconv writes it, and no other spelling: the script in Redis must
// understand it in the same way.
func seconds(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == text
}

// complain logs, once in a while, that Redis holds what is no revocation.
func (r *Revocations) complain(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.complained) >= complainEvery {
		r.client.log.Warn().Err(err).Int("not_told", r.kept).Msg("Redis holds what is no revocation under " + revocationSpace + "; it is refused, the others hold")
		r.complained, r.kept = now, 0
		return
	}
	r.kept++
}

// Follow implements revocation.Push.
func (r *Revocations) Follow(ctx context.Context, told func(revocation.News)) {
	t := &tracker{
		client: r.client, prefix: r.prefix,
		keys: func(keys []string) {
			for i, k := range keys {
				keys[i] = strings.TrimPrefix(k, r.prefix)
			}
			told(revocation.News{Keys: keys})
		},
		well: func(missed bool) { told(revocation.News{Everything: missed}) },
	}
	t.run(ctx)
}

// ErrEvicts says that a server drops keys whose time has not come.
var ErrEvicts = errors.New("revocations would be dropped while the tokens are still good")

// Check says what of the servers' settings would lose revocations in silence: a policy that
// evicts keys though their time has not come (SECURITY I4). Servers that are away
// are an error too, of another kind than ErrEvicts.
func (r *Revocations) Check(ctx context.Context) error {
	return eachMaster(ctx, r.client.Raw(), func(address string, node rueidis.Client) error {
		info, err := node.Do(ctx, node.B().Info().Section("memory").Build()).ToString()
		if err != nil {
			return fmt.Errorf("asking %s for its maxmemory-policy: %w", address, err)
		}
		for line := range strings.Lines(info) {
			policy, is := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:")
			if is && strings.HasPrefix(policy, "allkeys-") {
				return fmt.Errorf("redis at %s has maxmemory-policy %s: %w; set noeviction, or a volatile-… one", address, policy, ErrEvicts)
			}
		}
		return nil
	})
}
