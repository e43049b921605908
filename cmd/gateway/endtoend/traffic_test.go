package endtoend

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// named is an endpoint at address that answers its name, and where it listens.
func named(t *testing.T, name, address string) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })}
	go func() { _ = s.Serve(l) }() // ended by Close
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().(*net.TCPAddr)
}

// traffic is requests that go on while something happens, and who answered them.
type traffic struct {
	t    *testing.T
	url  string
	done chan struct{}
	all  sync.WaitGroup

	mu       sync.Mutex           // guards what follows
	last     map[string]time.Time // by name: when the last request was sent that it answered
	answered map[string]int
	sent     int
	failed   []string
}

// sendTo sends requests to url by some clients, each with a pause after every answer,
// until the test ends. It begins when the first one is answered.
func sendTo(t *testing.T, url string, clients int, pause time.Duration) *traffic {
	t.Helper()
	x := &traffic{t: t, url: url, done: make(chan struct{}), last: make(map[string]time.Time), answered: make(map[string]int)}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: patience}
	eventuallyAnswers(t, client, url)
	for range clients {
		x.all.Go(func() { x.send(client, pause) })
	}
	t.Cleanup(x.end)
	return x
}

func eventuallyAnswers(t *testing.T, client *http.Client, url string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		_, err := ask(client, url)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not answered: %v", url, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// ask is who answers.
func ask(client *http.Client, url string) (name string, err error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return string(body), err
}

func (x *traffic) send(client *http.Client, pause time.Duration) {
	ticks := time.NewTicker(pause)
	defer ticks.Stop()
	for {
		select {
		case <-x.done:
			return
		case <-ticks.C:
		}
		began := time.Now()
		name, err := ask(client, x.url)
		x.mu.Lock()
		x.sent++
		if err != nil {
			x.failed = append(x.failed, fmt.Sprintf("%s: %v", began.Format(time.TimeOnly), err))
		} else {
			x.answered[name]++
			if began.After(x.last[name]) {
				x.last[name] = began
			}
		}
		x.mu.Unlock()
	}
}

// end ends it. No request may have failed. A second call does nothing.
func (x *traffic) end() {
	select {
	case <-x.done:
		return
	default:
	}
	close(x.done)
	x.all.Wait()
	x.t.Logf("%s: %d of %d requests failed; answered by %v", x.url, len(x.failed), x.sent, x.answered)
	if len(x.failed) > 0 {
		x.t.Errorf("%d requests failed:\n%s", len(x.failed), strings.Join(x.failed[:min(len(x.failed), 10)], "\n"))
	}
}

// appears waits until name answers a request that is sent from now on, and says how long
// after since that one was sent.
func (x *traffic) appears(t *testing.T, name string, since time.Time) time.Duration {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		x.mu.Lock()
		last := x.last[name]
		x.mu.Unlock()
		if last.After(since) {
			return last.Sub(since)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s answers nothing", name)
		}
	}
}

// disappears waits until name has answered none of as many requests as would reach it many
// times, and says how long after since the last one was sent that it answered.
func (x *traffic) disappears(t *testing.T, name string, since time.Time) time.Duration {
	t.Helper()
	const without = 20
	others := func() (n int, last time.Time) {
		x.mu.Lock()
		defer x.mu.Unlock()
		for other, answered := range x.answered {
			if other != name {
				n += answered
			}
		}
		return n, x.last[name]
	}
	n, last := others()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		now, again := others()
		if again != last {
			n, last = now, again
		}
		if now-n > without {
			return max(last.Sub(since), 0)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s still answers", name)
		}
	}
}

// within wants the shortest of several times to be below limit: the machine is shared.
func within(t *testing.T, what string, limit time.Duration, took []time.Duration) {
	t.Helper()
	best := took[0]
	for _, d := range took {
		best = min(best, d)
	}
	t.Logf("%s: best %v of %v", what, best, took)
	if best > limit {
		t.Errorf("%s: %v at best, want within %v", what, best, limit)
	}
}
