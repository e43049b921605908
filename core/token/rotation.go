package token

import (
	"cmp"
	"slices"
	"time"
)

// slack is how long a key is kept beyond the last token that it can have signed:
// clocks of instances differ, and verifiers allow a leeway.
const slack = time.Minute

// internalLife is the life of an internal token (SECURITY I7).
const internalLife = time.Minute

// purposes are all purposes, in the order in which keys are listed.
func purposes() []Purpose { return []Purpose{ForAccess, ForRefresh, ForInternal} }

// rotation says which keys there must be, and when. It knows no stores and makes
// no keys, so that its rules can be tested by themselves.
//
// A key is next until its time to sign comes, current until the next one's comes,
// old until the last token that it signed is over. Every instance concludes the
// same from the same list, and from its own clock.
type rotation struct {
	every, ahead, life time.Duration
}

// lifeOf is the longest life of a token of that purpose.
func (r rotation) lifeOf(p Purpose) time.Duration {
	if p == ForInternal {
		return internalLife
	}
	return r.life
}

// ordered sorts keys by purpose, then by when they sign. Of two that sign from the
// same second on, all instances take the same one.
func ordered(keys []StoredKey) {
	slices.SortFunc(keys, func(a, b StoredKey) int {
		return cmp.Or(slices.Index(purposes(), a.Purpose)-slices.Index(purposes(), b.Purpose), a.Signs.Compare(b.Signs), cmp.Compare(a.ID, b.ID))
	})
}

// of returns the keys of one purpose; keys is ordered.
func of(keys []StoredKey, p Purpose) []StoredKey {
	from := slices.IndexFunc(keys, func(k StoredKey) bool { return k.Purpose == p })
	if from < 0 {
		return nil
	}
	to := from
	for to < len(keys) && keys[to].Purpose == p {
		to++
	}
	return keys[from:to:to]
}

// current returns the index of the key that signs now: the last one whose time has
// come, or the first of all where a clock was set back. -1: there is none. line
// holds the keys of one purpose, ordered.
func current(line []StoredKey, now time.Time) int {
	for i := len(line) - 1; i >= 0; i-- {
		if !line[i].Signs.After(now) {
			return i
		}
	}
	return min(0, len(line)-1)
}

// ends says when the i-th key of a line is over: zero if nothing follows it.
func ends(line []StoredKey, i int) time.Time {
	if i+1 >= len(line) {
		return time.Time{}
	}
	return line[i+1].Signs.Add(line[i].Life + slack)
}

// kept drops the keys that are over.
func kept(line []StoredKey, now time.Time) []StoredKey {
	for len(line) > 1 && ends(line, 0).Before(now) {
		line = line[1:]
	}
	return line
}

// settle returns what keys must become at now: those that are over dropped, lives
// grown to what may be signed from now on, and a key without id or secret for each
// that has to be made. changed says whether that is anything new.
func (r rotation) settle(keys []StoredKey, now time.Time) (settled []StoredKey, changed bool) {
	ordered(keys)
	for _, p := range purposes() {
		line := of(keys, p)
		left := slices.Clone(kept(line, now))
		changed = changed || len(left) != len(line)
		for i := max(0, current(left, now)); i < len(left); i++ {
			if life := r.lifeOf(p); left[i].Life < life {
				left[i].Life, changed = life, true
			}
		}
		if k, due := r.due(left, now); due {
			k.Purpose, k.Life = p, r.lifeOf(p)
			left, changed = append(left, k), true
		}
		settled = append(settled, left...)
	}
	return settled, changed
}

// due returns the key that has to be made for a line, if one has to.
func (r rotation) due(line []StoredKey, now time.Time) (StoredKey, bool) {
	if len(line) == 0 {
		return StoredKey{Created: now, Signs: now}, true // the first waits for nobody
	}
	last := line[len(line)-1]
	if r.every <= 0 || last.Signs.After(now) {
		return StoredKey{}, false
	}
	signs := last.Signs.Add(r.every)
	if now.Before(signs.Add(-r.ahead)) {
		return StoredKey{}, false
	}
	if earliest := now.Add(r.ahead); signs.Before(earliest) {
		signs = earliest
	}
	return StoredKey{Created: now, Signs: signs}, true
}

// hasten makes each line change its key as soon as a next one has been published
// long enough, and makes that next one if there is none.
func (r rotation) hasten(keys []StoredKey, now time.Time) []StoredKey {
	ordered(keys)
	var out []StoredKey
	for _, p := range purposes() {
		line := slices.Clone(of(keys, p))
		if i := current(line, now) + 1; i < len(line) {
			if earliest := latest(line[i].Created.Add(r.ahead), now); earliest.Before(line[i].Signs) {
				line[i].Signs = earliest
			}
		} else {
			line = append(line, StoredKey{Purpose: p, Life: r.lifeOf(p), Created: now, Signs: now.Add(r.ahead)})
		}
		out = append(out, line...)
	}
	return out
}

// drop removes one key. If it was the one that signed, the next one signs at once,
// for nothing that it signs any more can be told from a thief's. What was old stays
// until its own time, counted from then on if it had no successor's any more.
func drop(keys []StoredKey, id string, now time.Time) (left []StoredKey, found bool) {
	ordered(keys)
	for _, p := range purposes() {
		line := slices.Clone(of(keys, p))
		i := slices.IndexFunc(line, func(k StoredKey) bool { return k.ID == id })
		if i >= 0 {
			found = true
			signed := current(line, now) == i
			line = slices.Delete(line, i, i+1)
			if signed && i < len(line) && line[i].Signs.After(now) {
				line[i].Signs = now
			}
			if signed && i == len(line) {
				line = append(line, StoredKey{Purpose: p, Created: now, Signs: now})
			}
		}
		left = append(left, line...)
	}
	return left, found
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
