package revocation_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/revocation/revocationtest"
)

// world is some instances that share two stores, with a clock that a test moves.
type world struct {
	clock   *clock.Fake
	push    *revocationtest.Push
	durable *revocationtest.Durable
	mirrors []*revocation.Mirror
	loops   []*revocation.Loops
	// known is what each mirror was seen to refuse, ever.
	known []map[string]revocation.Entry
}

func newWorld(t fatal, instances int) *world {
	w := &world{clock: clock.NewFake(time.Unix(1000, 0)), push: revocationtest.NewPush(), durable: revocationtest.NewDurable()}
	for range instances {
		m := made(t, revocation.Options{Clock: w.clock, Push: w.push, Durable: w.durable})
		w.mirrors, w.loops = append(w.mirrors, m), append(w.loops, revocation.LoopsOf(m))
		w.known = append(w.known, map[string]revocation.Entry{})
	}
	return w
}

// check holds each mirror to what it knew before.
func (w *world) check(t *rapid.T, after string) {
	now := w.clock.Now().Unix()
	for i, m := range w.mirrors {
		for key, old := range w.known[i] {
			if old.Expires <= now {
				delete(w.known[i], key)
				continue
			}
			if e, ok := m.Get(key); !ok || e.Merge(old) != e {
				t.Fatalf("after %s mirror %d holds %+v (%v) where it held %+v", after, i, e, ok, old)
			}
		}
		for _, e := range m.All() {
			w.known[i][e.Key] = e
		}
		if int(m.Count()) < len(w.known[i]) {
			t.Fatalf("after %s mirror %d counts %d entries of %d", after, i, m.Count(), len(w.known[i]))
		}
	}
}

// Whatever happens to the stores, and in whatever order the mirror hears of it, an
// entry is refused until its own time has come; and once both stores are well, all
// instances refuse all that one of them does.
func TestI4_NothingIsForgotten(t *testing.T) {
	t.Parallel()
	key := rapid.SampledFrom([]string{"a", "b", "user:c", "ext:d"})
	entry := func(t *rapid.T, now int64) revocation.Entry {
		return revocation.Entry{
			Key:       key.Draw(t, "key"),
			NotBefore: rapid.SampledFrom([]int64{0, 0, 10, 20}).Draw(t, "not before"),
			Expires:   now + rapid.Int64Range(1, 100).Draw(t, "for"),
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, 3)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, len(w.mirrors)-1).Draw(t, "instance")
			now := w.clock.Now().Unix()
			op := rapid.SampledFrom([]string{"revoke", "poll", "listen", "everything", "news", "wipe push", "wipe durable", "delete", "weaken", "sever push", "mend push", "sever durable", "mend durable", "clean", "time"}).Draw(t, "op")
			switch op {
			case "revoke":
				_ = w.mirrors[i].Revoke(context.Background(), entry(t, now)) // severed stores refuse
			case "poll":
				w.loops[i].Poll()
			case "listen":
				w.loops[i].Listen()
			case "everything":
				w.loops[i].Box(revocation.News{Everything: true})
			case "news":
				w.loops[i].Box(revocation.News{Keys: []string{key.Draw(t, "changed")}})
			case "wipe push":
				w.push.Wipe()
			case "wipe durable":
				w.durable.Wipe()
			case "delete":
				w.push.Delete(key.Draw(t, "deleted"))
			case "weaken":
				w.push.Put(entry(t, now))
			case "sever push", "mend push":
				w.push.Sever(op == "sever push")
			case "sever durable", "mend durable":
				w.durable.Sever(op == "sever durable")
			case "clean":
				w.mirrors[i].Clean()
			case "time":
				w.clock.Advance(time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second)
			}
			w.check(t, op)
		}
		w.agree(t)
	})
}

// agree mends both stores and holds all to the same.
func (w *world) agree(t *rapid.T) {
	w.push.Sever(false)
	w.durable.Sever(false)
	// The first round collects; the second writes to the push store what the durable
	// one told after that was read; the third spreads it.
	for range 3 {
		for _, l := range w.loops {
			w.clock.Advance(time.Second)
			l.Box(revocation.News{Everything: true})
			l.Listen()
			l.Poll()
			l.Poll()
		}
	}
	w.check(t, "agreeing")
	now := w.clock.Now().Unix()
	for i := range w.mirrors {
		for _, e := range w.mirrors[i].All() {
			if e.Expires <= now+10 {
				continue // its end is near: it need not be spread any more
			}
			for j, other := range w.mirrors {
				if got, ok := other.Get(e.Key); !ok || got.Merge(e) != got {
					t.Fatalf("mirror %d holds %+v, and mirror %d %+v (%v)", i, e, j, got, ok)
				}
			}
			if got, ok := w.push.Get(e.Key); !ok || got.Merge(e) != got {
				t.Fatalf("mirror %d holds %+v, and the push store %+v (%v)", i, e, got, ok)
			}
		}
	}
}

// A table that grows, shrinks and is read meanwhile holds exactly what it should.
func TestI4_TheTableHoldsWhatItWasGiven(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Unix(1000, 0))
	m := made(t, revocation.Options{Clock: c})
	stop, read := make(chan struct{}), make(chan struct{})
	m.Take(revocation.Entry{Key: "always", Expires: 1 << 40})
	go func() {
		defer close(read)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if !m.Revoked("always", "", 0) {
				t.Error("an entry was out of sight for a moment")
				return
			}
		}
	}()
	for round := range 5 {
		for i := range 20_000 {
			m.Take(revocation.Entry{Key: fmt.Sprintf("k%d", i), NotBefore: int64(round + 1), Expires: 2000 + int64(i%2)*1000})
		}
		if m.Count() != 20_001 || len(m.All()) != 20_001 {
			t.Fatalf("%d entries, %d listed", m.Count(), len(m.All()))
		}
	}
	if m.Revoked("k5", "", 5) || !m.Revoked("k5", "", 4) {
		t.Error("the latest NotBefore does not count")
	}
	c.Advance(1500 * time.Second)
	m.Clean()
	if m.Count() != 10_001 || m.Revoked("k4", "", 0) || !m.Revoked("k5", "", 0) {
		t.Errorf("%d entries after half has expired", m.Count())
	}
	close(stop)
	<-read
}
