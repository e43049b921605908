package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/upstream"
)

const (
	// settle is how long a source that has begun anew is only believed what it adds:
	// after its restart the services come back one by one.
	settle = 10 * time.Second
	// longestWait is how long a source may wait for a change. It bounds what an answer
	// that got lost on a dead connection costs.
	longestWait = time.Minute
	// leastPause keeps a service that flaps, or a server that answers without waiting,
	// from taking a core.
	leastPause = 100 * time.Millisecond
	// After a failure the pause doubles from the first to the second, and a random half
	// of it is left out: many gateways must not come back in step.
	firstPause   = 500 * time.Millisecond
	longestPause = 15 * time.Second
)

// watch keeps up with the endpoints of one thing. Its finder begins and stops it.
type watch struct {
	finder *Finder
	of     upstream.Discovery
	query  Query // of the goroutine alone
	log    zerolog.Logger
	cancel context.CancelFunc
	done   sync.WaitGroup
	remove []func() // takes its series out of the metrics
	begun  int64    // Mono

	// Of the goroutine alone:
	failures   int
	said       string // the last trouble that was logged
	doubtUntil int64  // Mono; 0: not in doubt

	mu        sync.Mutex // guards what follows; held while listeners are told
	listeners []*listener
	known     []upstream.EndpointSpec // sorted by address; its array is never written again
	changed   time.Time
	changes   uint64
	heard     time.Time // when the source last said what there is
	failing   int64     // Mono since when it says nothing useful; 0: it does
}

// listener is one who wants to know. Its pointer tells two apart.
type listener struct {
	apply func([]upstream.EndpointSpec) error
}

// join adds l, and tells it what is known.
func (w *watch) join(l *listener) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners = append(w.listeners, l)
	w.tell(l)
}

// tell gives l what is known, if anything is. Called under mu.
func (w *watch) tell(l *listener) {
	if len(w.known) == 0 {
		return
	}
	if err := l.apply(w.known); err != nil {
		w.log.Error().Err(err).Msg("these endpoints were refused; those of before stay in use")
	}
}

// leave takes l out; it is not called afterwards. It says whether that was the last one.
func (w *watch) leave(l *listener) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners = slices.DeleteFunc(w.listeners, func(other *listener) bool { return other == l })
	return len(w.listeners) == 0
}

// stop ends the goroutine and awaits it.
func (w *watch) stop() {
	w.cancel()
	w.done.Wait()
	for _, remove := range w.remove {
		remove()
	}
}

// run asks until stop.
func (w *watch) run(ctx context.Context) {
	timer := w.finder.clock.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		pause := w.ask(ctx)
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		}
	}
}

// ask asks once, and says how long to wait before the next time. A panic of a driver is
// a failure like any other: whoever sends broken answers must not end the watch.
func (w *watch) ask(ctx context.Context) (pause time.Duration) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("asking for endpoints panicked")
			pause = w.fail(&Error{Nonsense, fmt.Errorf("BUG: %v", p)})
		}
	}()
	wait := longestWait
	if w.doubtUntil != 0 {
		wait = min(wait, max(time.Duration(w.doubtUntil-w.finder.clock.Mono()), time.Millisecond))
	}
	answer, err := w.query.Next(ctx, wait)
	switch {
	case ctx.Err() != nil:
		return longestPause // run sees it
	case err != nil:
		return w.fail(err)
	default:
		return w.believe(answer)
	}
}

// fail notes that there is no answer. Nothing that is known changes.
func (w *watch) fail(err error) (pause time.Duration) {
	w.trouble(kindOf(err), err)
	pause = min(firstPause<<min(w.failures, 10), longestPause)
	w.failures++
	return pause/2 + rand.N(pause/2)
}

// trouble counts one reason why what is known may be old, and logs it when it is new:
// an outage is two lines, not one for each question.
func (w *watch) trouble(kind Kind, err error) {
	w.finder.count(w.of, kind)
	w.mu.Lock()
	if w.failing == 0 {
		w.failing = w.finder.clock.Mono()
	}
	known := len(w.known)
	w.mu.Unlock()
	if w.said == string(kind) {
		return
	}
	w.said = string(kind)
	w.log.Warn().Str("kind", string(kind)).Err(err).Int("endpoints", known).Msg("no word of these endpoints; those that are known stay in use")
}

// believe judges an answer, and takes over what it believes.
func (w *watch) believe(a Answer) (pause time.Duration) {
	w.failures = 0
	pause = max(a.Again, leastPause)
	now := w.finder.clock.Mono()
	if a.Doubtful && w.doubtUntil == 0 {
		w.doubtUntil = now + int64(settle)
	}
	endpoints, refused := clean(a.Endpoints, w.finder.barred)
	switch {
	case len(endpoints) > 0:
	case refused != "":
		w.trouble(Refused, errors.New(refused))
		return pause
	default:
		w.doubtUntil = now + int64(settle)
		w.trouble(Empty, errors.New("the answer is that there are none"))
		return pause
	}
	w.wellAgain(refused)
	if now < w.doubtUntil {
		endpoints = union(endpoints, w.known)
		pause = min(pause, time.Duration(w.doubtUntil-now))
	} else {
		w.doubtUntil = 0
	}
	w.take(endpoints)
	return pause
}

// wellAgain notes that the source said what there is, but for refused.
func (w *watch) wellAgain(refused string) {
	w.mu.Lock()
	w.failing, w.heard = 0, w.finder.clock.Now()
	w.mu.Unlock()
	switch {
	case refused != "" && w.said != refused:
		w.finder.count(w.of, Refused)
		w.log.Warn().Str("refused", refused).Msg("some of these endpoints are not used")
	case refused == "" && w.said != "":
		w.log.Info().Msg("the endpoints are known again")
	}
	w.said = refused
}

// take puts endpoints in the place of what is known, if they differ, and keeps them.
func (w *watch) take(endpoints []upstream.EndpointSpec) {
	if slices.Equal(endpoints, w.known) { // only this goroutine writes it
		return
	}
	added, removed := difference(w.known, endpoints)
	w.mu.Lock()
	w.known, w.changed = endpoints, w.finder.clock.Now()
	w.changes++
	for _, l := range w.listeners {
		w.tell(l)
	}
	since := w.changed
	w.mu.Unlock()
	w.log.Info().Int("endpoints", len(endpoints)).Strs("added", few(added)).Strs("removed", few(removed)).Msg("the endpoints have changed")
	if err := w.finder.shelf.put(w.of, endpoints, since); err != nil {
		w.log.Warn().Err(err).Msg("these endpoints can't be kept: a start without their source would not know them")
	}
}

// ill says whether the source has been of no use for longer than patience.
func (w *watch) ill(now int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	since := w.failing
	if since == 0 && w.heard.IsZero() {
		since = w.begun
	}
	return since != 0 && now-since > int64(patience)
}

// union is a, with those of b whose addresses a has not.
func union(a, b []upstream.EndpointSpec) []upstream.EndpointSpec {
	out := slices.Clone(a)
	for _, e := range b {
		if !has(a, e.Address) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, byAddress)
	return out
}

func byAddress(a, b upstream.EndpointSpec) int { return strings.Compare(a.Address, b.Address) }

// has looks for an address among endpoints that are sorted.
func has(in []upstream.EndpointSpec, address string) bool {
	_, found := slices.BinarySearchFunc(in, address, func(e upstream.EndpointSpec, address string) int { return strings.Compare(e.Address, address) })
	return found
}

// difference is the addresses that only after has, and those that only before has.
func difference(before, after []upstream.EndpointSpec) (added, removed []string) {
	for _, e := range after {
		if !has(before, e.Address) {
			added = append(added, e.Address)
		}
	}
	for _, e := range before {
		if !has(after, e.Address) {
			removed = append(removed, e.Address)
		}
	}
	return added, removed
}

// few are as many as fit in a line of the log.
func few(addresses []string) []string {
	const most = 10
	if len(addresses) <= most {
		return addresses
	}
	return append(slices.Clip(addresses[:most]), fmt.Sprintf("and %d more", len(addresses)-most))
}
