package upstream

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// notebook is a Recorder that can be away.
type notebook struct {
	mu     sync.Mutex
	away   bool
	rounds []time.Time
	got    map[string]HealthRecord
}

func (n *notebook) RecordHealth(ctx context.Context, records []HealthRecord) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rounds = append(n.rounds, time.Now())
	if n.away {
		n.mu.Unlock()
		<-ctx.Done() // it does not even refuse
		n.mu.Lock()
		return ctx.Err()
	}
	for _, r := range records {
		n.got[r.URL] = r
	}
	return nil
}

func (n *notebook) read() (rounds int, got map[string]Health) {
	n.mu.Lock()
	defer n.mu.Unlock()
	got = map[string]Health{}
	for url, r := range n.got {
		got[url] = r.Health
	}
	return len(n.rounds), got
}

// Changes are recorded, and nothing else; what could not be comes later, as it is then.
func TestChangesAreRecorded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &notebook{got: map[string]HealthRecord{}}
		c := checking(n, 1, 1)
		c.spec.Endpoints[1].TLS.ServerName = "b"
		s := c.acquire(t)
		time.Sleep(time.Minute)
		rounds, got := n.read()
		if got["http://a"] != Healthy || got["https://b"] != Healthy || len(got) != 2 || rounds > 2 {
			t.Errorf("%d rounds: %v", rounds, got)
		}
		time.Sleep(10 * time.Minute)
		if again, _ := n.read(); again != rounds {
			t.Errorf("%d rounds without a change", again-rounds)
		}
		n.mu.Lock()
		n.away = true
		n.mu.Unlock()
		c.answers.set("a", failing)
		time.Sleep(3 * time.Minute)
		away, got := n.read()
		if s.Members()[0].Status().Health != Unhealthy || got["http://a"] != Healthy || away == rounds || away > rounds+9 {
			t.Errorf("while it is away: %d rounds, %v", away-rounds, got)
		}
		c.answers.set("b", failing)
		n.mu.Lock()
		n.away = false
		n.mu.Unlock()
		time.Sleep(3 * time.Minute)
		if _, got := n.read(); got["http://a"] != Unhealthy || got["https://b"] != Unhealthy {
			t.Errorf("after it came back: %v", got)
		}
		n.mu.Lock()
		at := n.got["https://b"].At
		for i := 1; i < len(n.rounds); i++ {
			if d := n.rounds[i].Sub(n.rounds[i-1]); d < recordEvery {
				t.Errorf("two rounds within %s", d)
			}
		}
		n.away = true
		n.mu.Unlock()
		if at.IsZero() || at.After(time.Now()) {
			t.Errorf("found at %s", at)
		}
		c.answers.set("a", nil)
		time.Sleep(2*time.Minute + time.Second)
		s.Release() // while a round hangs
	})
}
