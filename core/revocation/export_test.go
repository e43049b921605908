package revocation

import "context"

// Loops are the loops of a mirror, turned by hand.
type Loops struct {
	m   *Mirror
	p   poll
	f   follow
	Box func(News)
}

// LoopsOf returns the loops of a mirror that does not run.
func LoopsOf(m *Mirror) *Loops {
	box := newMailbox(m.clock.Mono)
	return &Loops{m: m, f: follow{box: box}, Box: box.tell}
}

// Poll asks the durable store once.
func (l *Loops) Poll() { l.m.turn(context.Background(), &l.p) }

// Listen takes in what the box holds.
func (l *Loops) Listen() { l.m.listen(context.Background(), &l.f) }

// Clean drops what has expired.
func (m *Mirror) Clean() { m.entries.expire(m.clock.Now().Unix()) }

// Expire cuts what has expired.
func (s *Stays) Expire() { s.expire() }

// Get returns the entry of a key.
func (m *Mirror) Get(key string) (Entry, bool) { return m.entries.get(key) }

// All returns all entries.
func (m *Mirror) All() (all []Entry) {
	m.entries.each(func(e Entry) { all = append(all, e) })
	return all
}

// Count is how many entries the metric shows.
func (m *Mirror) Count() int64 { return m.entries.len() }

// Take merges entries that came from anywhere.
func (m *Mirror) Take(entries ...Entry) { m.merge(entries) }

// Journal is a journal in a directory.
func (m *Mirror) Journal() Durable { return m.durable }
