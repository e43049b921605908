package redis

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/suuupra/gateway/core/apikey"
)

// APIKeys is the shared tier of API keys: hashes `api_keys:{keyId}` that die after
// apikey.SharedLife. Each carries an HMAC over its id and all fields, so that who can
// write to Redis can't make or change a key, nor give one's record to another. What
// such a writer can do is to delete, and to put an older record back; the second is
// what tombstones, revisions and the short life are against. Its methods may be
// called concurrently.
type APIKeys struct {
	client *Client
	mac    []byte // the key of the HMAC
	put    *rueidis.Lua
	bury   *rueidis.Lua
	drop   *rueidis.Lua
}

var _ apikey.Shared = (*APIKeys)(nil)

// apiKeyPrefix is before the ids, after the prefix of the client.
const apiKeyPrefix = "api_keys:"

// apiKeySecret is the least secret that a key for the HMAC is made of, in bytes.
const apiKeySecret = 32

//go:embed apikeys_put.lua
var apiKeysPut string

//go:embed apikeys_bury.lua
var apiKeysBury string

//go:embed apikeys_drop.lua
var apiKeysDrop string

// NewAPIKeys returns the tier. secret, which all instances share and Redis never
// sees, has 32 bytes or more; the key of the HMAC is derived from it, so that it may
// serve other purposes too.
func NewAPIKeys(client *Client, secret []byte) (*APIKeys, error) {
	if len(secret) < apiKeySecret {
		return nil, fmt.Errorf("records of API keys in Redis need a secret of %d bytes, got %d", apiKeySecret, len(secret))
	}
	derive := hmac.New(sha256.New, secret)
	_, _ = derive.Write([]byte("suuupra gateway: records of API keys in Redis, 1")) // a hash never fails
	return &APIKeys{
		client: client, mac: derive.Sum(nil),
		put: rueidis.NewLuaScript(apiKeysPut), bury: rueidis.NewLuaScript(apiKeysBury), drop: rueidis.NewLuaScript(apiKeysDrop),
	}, nil
}

func (a *APIKeys) key(id string) string { return a.client.Key(apiKeyPrefix, id) }

// keyRevision is a revision whose order as text is that of its number: Lua's numbers are
// doubles, and would take 2⁵³+1 for 2⁵³.
func keyRevision(revision int64) string { return fmt.Sprintf("%019d", revision) }

// keyMilliseconds is d as PEXPIRE takes it.
func keyMilliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// sum is the HMAC of a record: of its id, then of each field's value, each with its
// length before it, so that no two records look the same.
func (a *APIKeys) sum(id string, values []string) string {
	h := hmac.New(sha256.New, a.mac)
	for _, v := range append([]string{id}, values...) {
		_, _ = fmt.Fprintf(h, "%d:%s", len(v), v) // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

// apiKeyWithin bounds each call: the library tries reads again for as long as it may.
const apiKeyWithin = time.Second

// Load returns what is there. One round trip.
func (a *APIKeys) Load(ctx context.Context, id string) (apikey.Shelved, error) {
	ctx, cancel := context.WithTimeout(ctx, apiKeyWithin)
	defer cancel()
	raw, key := a.client.Raw(), a.key(id)
	answers := raw.DoMulti(ctx, raw.B().Hgetall().Key(key).Build(), raw.B().Pttl().Key(key).Build())
	fields, err := answers[0].AsStrMap()
	if err != nil {
		if isKeyOfOtherType(err) {
			return apikey.Shelved{}, a.discard(ctx, id, "")
		}
		return apikey.Shelved{}, fmt.Errorf("reading %s%s: %w: %w", apiKeyPrefix, id, apikey.ErrUnavailable, err)
	}
	left, err := answers[1].AsInt64()
	if err != nil {
		return apikey.Shelved{}, fmt.Errorf("reading %s%s: %w: %w", apiKeyPrefix, id, apikey.ErrUnavailable, err)
	}
	if len(fields) == 0 {
		return apikey.Shelved{}, nil
	}
	s, err := a.decode(id, fields)
	if err != nil || left < 0 && left != keyGonePTTL { // ours always expire
		return apikey.Shelved{}, a.discard(ctx, id, fields[keyMACField])
	}
	s.Age = min(max(apikey.SharedLife-time.Duration(left)*time.Millisecond, 0), apikey.SharedLife)
	return s, nil
}

// keyGonePTTL is PTTL's answer for a key that died since HGETALL.
const keyGonePTTL = -2

func isKeyOfOtherType(err error) bool {
	said, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(said.Error(), "WRONGTYPE")
}

// discard deletes what is none of ours, if it is still there, for it might stand in
// the way for ever; the error says that there was nothing to believe.
func (a *APIKeys) discard(ctx context.Context, id, mac string) error {
	invalid := fmt.Errorf("%s%s: %w: it is no record of this gateway's", apiKeyPrefix, id, apikey.ErrInvalid)
	if err := a.drop.Exec(ctx, a.client.Raw(), []string{a.key(id)}, []string{mac}).Error(); err != nil {
		return errors.Join(invalid, fmt.Errorf("removing it: %w", err))
	}
	return invalid
}

// Put keeps a record, unless something as new is there.
func (a *APIKeys) Put(ctx context.Context, r apikey.Record) error {
	ctx, cancel := context.WithTimeout(ctx, apiKeyWithin)
	defer cancel()
	values := encodeKey(&r)
	arguments := append(make([]string, 0, 2+2*len(keyFields)+2), keyRevision(r.Revision), keyMilliseconds(apikey.SharedLife))
	for i, field := range keyFields {
		arguments = append(arguments, field, values[i])
	}
	arguments = append(arguments, keyMACField, a.sum(r.ID, values))
	if err := a.put.Exec(ctx, a.client.Raw(), []string{a.key(r.ID)}, arguments).Error(); err != nil {
		return fmt.Errorf("writing %s%s: %w: %w", apiKeyPrefix, r.ID, apikey.ErrUnavailable, err)
	}
	return nil
}

// Bury leaves a tombstone instead of an older record.
func (a *APIKeys) Bury(ctx context.Context, id string, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, apiKeyWithin)
	defer cancel()
	at := keyRevision(revision)
	arguments := []string{at, keyMilliseconds(2 * apikey.SharedLife), keyRevisionField, at, keyGoneField, "1", keyMACField, a.sum(id, keyTombstone(at))}
	if err := a.bury.Exec(ctx, a.client.Raw(), []string{a.key(id)}, arguments).Error(); err != nil {
		return fmt.Errorf("burying %s%s: %w: %w", apiKeyPrefix, id, apikey.ErrUnavailable, err)
	}
	return nil
}
