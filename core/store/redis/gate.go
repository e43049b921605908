package redis

import (
	"context"
	"crypto/sha1" //nolint:gosec // it is how Redis names scripts
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// mostAsked is how many asks of a lane may be without an answer, those included that
// nobody waits for any more.
const mostAsked = 512

// clusterLanes is how many lanes there are to a cluster, each for a range of slots: a node
// that hangs holds up those that share its lanes, and no others.
const clusterLanes = 16

var (
	errSlow   = fmt.Errorf("no answer within the timeout: %w", context.DeadlineExceeded)
	errFull   = errors.New("512 earlier requests are without an answer")
	errClosed = errors.New("closed")
	// errUnknown can only be seen while somebody flushes scripts all the time.
	errUnknown = errors.New("the script is unknown again as soon as it was sent")
)

// gate asks Redis for requests that can't wait. The library alone would stall them:
// while a server hangs, whoever finds its queue full, or a connection being made, waits
// as long as that takes, whatever his deadline. Here nobody but the lanes' own
// goroutines calls it. A request hands its ask over, which never blocks, and leaves when its
// time is over; the ask keeps its place until the library has let go of it.
//
// A lane sends what has gathered while it waited for the answers before: under load,
// one write and one read of the socket are shared by all of these.
type gate struct {
	client  *Client
	timeout time.Duration
	lanes   []*lane
	asks    sync.Pool
	past    chan time.Time // is closed
	stop    chan struct{}
	closing sync.Once
	stopped sync.WaitGroup
}

// script is a Lua script by the name that Redis gives it.
type script struct{ sha, body string }

func newScript(body string) *script {
	sum := sha1.Sum([]byte(body)) //nolint:gosec // see above
	return &script{sha: hex.EncodeToString(sum[:]), body: body}
}

// lane is a queue and the goroutine that empties it.
type lane struct {
	gate  *gate
	queue chan *ask
	asked atomic.Int64 // without an answer; written at each ask, of which each costs a round trip

	batch    []*ask // nil where it is answered; this and what follows is the goroutine's
	sent     []int  // indices in batch
	commands rueidis.Commands
}

// What becomes of an ask.
const (
	askWaits    = iota
	askAnswered // its owner takes it
	askLeft     // nobody waits for it; the lane takes it
)

// ask is one call of a script, and the place for its answer.
type ask struct {
	script          *script
	keys, arguments []string
	slot            uint16 // of all keys, in a cluster
	names           []byte // where keys are put together, each to its end
	ends            []int
	answer          rueidis.RedisResult
	errand          bool // nobody waits for it, and it is sent all the same

	state    atomic.Int32
	answered chan struct{} // holds one
	timer    *time.Timer
}

// newGate starts the lanes. Whoever asks waits for timeout at most.
func newGate(client *Client, timeout time.Duration) *gate {
	g := &gate{client: client, timeout: timeout, past: make(chan time.Time), stop: make(chan struct{})}
	close(g.past)
	g.asks.New = func() any {
		a := &ask{answered: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
		a.timer.Stop()
		return a
	}
	n := 1
	if client.options.Mode == Cluster {
		n = clusterLanes
	}
	for range n {
		l := &lane{gate: g, queue: make(chan *ask, mostAsked)}
		g.lanes = append(g.lanes, l)
		g.stopped.Go(l.run)
	}
	return g
}

// close ends the lanes, after the answer that each waits for. Who asks later gets an error.
func (g *gate) close() {
	g.closing.Do(func() { close(g.stop) })
	g.stopped.Wait()
}

// borrow returns an empty ask; it goes back by put, or by the lane.
func (g *gate) borrow(s *script) *ask {
	a := g.asks.Get().(*ask)
	a.script = s
	a.state.Store(askWaits)
	return a
}

func (g *gate) put(a *ask) {
	clear(a.keys)
	clear(a.arguments)
	a.keys, a.arguments, a.names, a.answer = a.keys[:0], a.arguments[:0], a.names[:0], rueidis.RedisResult{}
	a.ends, a.errand = a.ends[:0], false
	g.asks.Put(a)
}

// send hands an ask over. If it fails the ask is still the caller's.
func (g *gate) send(a *ask) error {
	l := g.lanes[int(a.slot)*len(g.lanes)/slotCount]
	if l.asked.Add(1) > mostAsked {
		l.asked.Add(-1)
		return errFull
	}
	select {
	case <-g.stop:
		l.asked.Add(-1)
		return errClosed
	case l.queue <- a: // has room for all that the lane lets in
		return nil
	}
}

// wait returns when a, which was sent, is answered or late, of which the ask's timer
// tells. If it fails the ask is the lane's.
func (g *gate) wait(a *ask, late <-chan time.Time) error {
	select {
	case <-a.answered:
		return nil
	case <-late:
	case <-g.stop:
	}
	if a.state.CompareAndSwap(askWaits, askLeft) {
		return errSlow
	}
	<-a.answered
	return nil
}

// do asks and waits. If it fails the ask is gone, else the caller puts it back.
func (g *gate) do(a *ask) error {
	if err := g.send(a); err != nil {
		g.put(a)
		return err
	}
	timer := a.timer // the ask may be another's when it is stopped
	timer.Reset(g.timeout)
	err := g.wait(a, timer.C)
	if err == nil {
		timer.Stop()
	}
	return err
}

// run sends what is asked until the gate closes.
func (l *lane) run() {
	for {
		select {
		case <-l.gate.stop:
			return
		case a := <-l.queue:
			l.batch = append(l.batch, a)
		}
		for more := true; more && len(l.batch) < mostAsked; {
			select {
			case a := <-l.queue:
				l.batch = append(l.batch, a)
			default:
				more = false
			}
		}
		l.answerAll()
		clear(l.batch)
		l.batch = l.batch[:0]
	}
}

// answerAll answers the batch. Scripts that the server does not know, which has run none
// of them then, are sent whole.
func (l *lane) answerAll() {
	defer func() {
		cause := errUnknown
		if v := recover(); v != nil { // of the library
			l.gate.client.log.Error().Any("panic", v).Msg("asking Redis")
			cause = fmt.Errorf("asking: %v", v)
		}
		for i := range l.batch {
			l.finish(i, rueidis.NewErrorResult(cause))
		}
	}()
	l.ask(false)
	l.ask(true)
}

// ask sends those of the batch that have no answer yet.
func (l *lane) ask(whole bool) {
	raw := l.gate.client.Raw()
	l.commands, l.sent = l.commands[:0], l.sent[:0]
	for i, a := range l.batch {
		switch {
		case a == nil:
			continue
		case a.state.Load() == askLeft && !a.errand:
			l.finish(i, rueidis.RedisResult{})
			continue
		case whole:
			l.commands = append(l.commands, raw.B().Eval().Script(a.script.body).Numkeys(int64(len(a.keys))).Key(a.keys...).Arg(a.arguments...).Build())
		default:
			l.commands = append(l.commands, raw.B().Evalsha().Sha1(a.script.sha).Numkeys(int64(len(a.keys))).Key(a.keys...).Arg(a.arguments...).Build())
		}
		l.sent = append(l.sent, i)
	}
	if len(l.sent) == 0 {
		return
	}
	for k, result := range raw.DoMulti(context.Background(), l.commands...) { // nothing is retried: see option
		if failed, ok := rueidis.IsRedisErr(result.Error()); whole || !ok || !failed.IsNoScript() {
			l.finish(l.sent[k], result)
		}
	}
}

// finish gives entry i of the batch its answer, if it has none, and its place back.
func (l *lane) finish(i int, result rueidis.RedisResult) {
	a := l.batch[i]
	if a == nil {
		return
	}
	l.batch[i] = nil
	l.asked.Add(-1)
	a.answer = result
	if a.state.CompareAndSwap(askWaits, askAnswered) {
		a.answered <- struct{}{}
	} else {
		l.gate.put(a)
	}
}
