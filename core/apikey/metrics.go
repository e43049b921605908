package apikey

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"

	"github.com/suuupra/gateway/core/meter"
)

// metrics are what is counted of keys. No label of theirs comes from a caller.
type metrics struct {
	hits, misses, negative, stale                         *meter.Counter
	sharedHits, sharedMisses, sharedFailed, sharedInvalid *meter.Counter
	pushed, resyncs                                       *meter.Counter
	flushed, flushFailed, lost, forgotten                 *meter.Counter
	owed                                                  atomic.Int64 // written by the flusher
	refused                                               []refusal
}

// refusal is the counter of one error.
type refusal struct {
	err   error
	count *meter.Counter
}

func newMetrics(set *meter.Set, k *Keys) *metrics {
	cached := func(outcome string) *meter.Counter {
		return set.Counter("gateway_api_key_cache_total", "Looks into the process's cache of API keys: stale ones were served because both stores were away, negative ones are ids known not to exist.", meter.Label{Name: "outcome", Value: outcome})
	}
	shared := func(outcome string) *meter.Counter {
		return set.Counter("gateway_api_key_shared_total", "Calls of the shared tier of API keys; invalid records are ignored.", meter.Label{Name: "outcome", Value: outcome})
	}
	flushes := func(outcome string) *meter.Counter {
		return set.Counter("gateway_api_key_usage_flushes_total", "Batches of API key usage given to the store; what failed is given again.", meter.Label{Name: "outcome", Value: outcome})
	}
	m := &metrics{
		hits: cached("hit"), misses: cached("miss"), negative: cached("negative"), stale: cached("stale"),
		sharedHits: shared("hit"), sharedMisses: shared("miss"), sharedFailed: shared("failed"), sharedInvalid: shared("invalid"),
		pushed:  set.Counter("gateway_api_key_pushes_total", "Changes of API keys that a store pushed."),
		resyncs: set.Counter("gateway_api_key_resyncs_total", "Times that all API keys were read again because pushes may have been lost."),
		flushed: flushes("stored"), flushFailed: flushes("failed"),
		forgotten: set.Counter("gateway_api_key_usage_forgotten_rows_total", "Rows of API key usage that this instance has deleted because they were older than identity.usage_retention."),
		lost:      set.Counter("gateway_api_key_usage_lost_total", "Requests that are missing from the usage of API keys because too much was counted that no store took."),
	}
	for _, r := range []struct {
		reason string
		err    error
	}{
		{"malformed", ErrMalformed}, {"unknown", ErrUnknown}, {"inactive", ErrInactive},
		{"expired", ErrExpired}, {"address", ErrAddress}, {"unavailable", ErrUnavailable},
	} {
		m.refused = append(m.refused, refusal{r.err, set.Counter("gateway_api_key_refused_total", "API keys that were refused.", meter.Label{Name: "reason", Value: r.reason})})
	}
	set.Gauge("gateway_api_key_cache_entries", "API keys in the process's cache.", func() float64 { return float64(k.cache.count.Load()) })
	set.Gauge("gateway_api_key_cache_bytes", "Bytes that the process's cache of API keys takes.", func() float64 { return float64(k.cache.size()) })
	set.Gauge("gateway_api_key_usage_owed_rows", "Rows of usage that the store has not taken yet.", func() float64 { return float64(m.owed.Load()) })
	return m
}

// refuse counts a refusal by its reason.
func (m *metrics) refuse(err error) {
	for _, r := range m.refused {
		if errors.Is(err, r.err) {
			r.count.Add(rand.Uint32(), 1)
			return
		}
	}
}
