package plugin

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/rs/zerolog"
)

// Keeper holds what plugins keep beyond one snapshot: a log sink, a cache. Each
// value is counted by its holders and closed when the last one lets go, so a
// reload that changes nothing about it hands the very same value on: the new
// snapshot takes hold of it before the old one lets go. Safe for concurrent use.
type Keeper struct {
	log zerolog.Logger

	mu   sync.Mutex // guards kept and every holders; held for a map access, never while building or closing
	kept map[identity]*kept
}

// identity tells kept values apart.
type identity struct {
	key     string
	options string
	held    reflect.Type
}

// kept is one value with the number of those who hold it.
type kept struct {
	holders int
	once    sync.Once // builds value or err
	value   io.Closer
	err     error
}

// NewKeeper returns an empty keeper. What fails to close is reported to log:
// by then nobody is left to whom the error could be returned.
func NewKeeper(log zerolog.Logger) *Keeper {
	return &Keeper{log: log, kept: make(map[identity]*kept)}
}

// Keep returns the value kept under key and options, building it if nobody
// holds one. Identical options share one value; two options are identical when
// they are of one type and hold the same data, behind pointers and in unexported
// fields too. Options that hold a function, a channel or a cycle are an error.
//
// The caller calls release once it needs the value no longer, usually in
// Instance.Close; further calls do nothing. The last release closes the value
// and waits for that. An error of build is returned to all who waited for it,
// and nothing is kept. build may call Keep for other keys.
func Keep[T io.Closer](k *Keeper, key string, options any, build func() (T, error)) (value T, release func(), err error) {
	data, err := appendIdentity(nil, reflect.ValueOf(options), 0)
	if err != nil {
		return value, nil, fmt.Errorf("keeping %s: %w", key, err)
	}
	id := identity{key: key, options: string(data), held: reflect.TypeFor[T]()}
	entry := k.hold(id)
	defer func() {
		if entry.err != nil {
			k.drop(id, entry)
		}
	}()
	entry.once.Do(func() {
		entry.err = errPanicked // unless build returns
		entry.value, entry.err = build()
	})
	if entry.err != nil {
		return value, nil, entry.err
	}
	return entry.value.(T), sync.OnceFunc(func() { k.release(id, entry) }), nil
}

// errPanicked is the error of an entry whose build never returned.
var errPanicked = errors.New("building it panicked")

// hold returns the entry of id with one holder more.
func (k *Keeper) hold(id identity) *kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	entry := k.kept[id]
	if entry == nil {
		entry = &kept{}
		k.kept[id] = entry
	}
	entry.holders++
	return entry
}

// drop takes one holder from entry and says whether it was the last. An entry
// without holders, or one that could not be built, is found no more.
func (k *Keeper) drop(id identity, entry *kept) (last bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	entry.holders--
	if k.kept[id] == entry && (entry.holders == 0 || entry.err != nil) {
		delete(k.kept, id)
	}
	return entry.holders == 0
}

func (k *Keeper) release(id identity, entry *kept) {
	if !k.drop(id, entry) {
		return
	}
	if err := entry.value.Close(); err != nil {
		k.log.Error().Err(err).Str("key", id.key).Msg("closing what a plugin kept failed")
	}
}

// Len returns how many values are kept; after the last snapshot closed it is 0.
func (k *Keeper) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.kept)
}
