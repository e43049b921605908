package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// plan is what one run does. It is not changed once the run has started, so all
// loops share it.
type plan struct {
	address     unix.Sockaddr // where to connect to
	request     []byte        // as it is written, head and body
	noBody      bool          // the method is HEAD: answers have no body
	status      int           // of the expected answer
	body        []byte        // of the expected answer
	rate        float64       // requests a second, > 0
	warmup      time.Duration // at the beginning: sent and compared, latencies not recorded
	duration    time.Duration // after the warm-up, > 0
	timeout     time.Duration // of a connect and of an answer; and how long a run waits at its end
	connections int           // ≥ threads
	threads     int           // ≥ 1
}

// slots is how many requests the schedule holds.
func (p *plan) slots() int64 {
	return int64(p.rate * (p.warmup + p.duration).Seconds())
}

// due is when request i leaves, counted from the start. It is computed from i
// each time, so that no error adds up.
func (p *plan) due(i int64) time.Duration {
	return time.Duration(float64(i) / p.rate * float64(time.Second))
}

// recorded says whether request i counts in the latencies.
func (p *plan) recorded(i int64) bool { return p.due(i) >= p.warmup }

// share is how many of the connections thread k has.
func (p *plan) share(k int) int {
	n := p.connections / p.threads
	if k < p.connections%p.threads {
		n++
	}
	return n
}

// check reports the first number that makes no sense.
func (p *plan) check() error {
	switch {
	case !(p.rate > 0) || p.rate > 10e6:
		return fmt.Errorf("rate %v: want more than 0 and at most 10 million a second", p.rate)
	case p.duration <= 0 || p.warmup < 0 || p.timeout <= 0:
		return errors.New("durations must be positive")
	case p.threads < 1 || p.connections < p.threads:
		return fmt.Errorf("%d threads with %d connections: each thread needs one", p.threads, p.connections)
	case p.slots() < 1:
		return fmt.Errorf("not one request is due at %v a second within %v", p.rate, p.warmup+p.duration)
	}
	return nil
}

// resolve turns host:port into what a socket takes.
func resolve(address string) (unix.Sockaddr, error) {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", address, err)
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: tcp.Port, Addr: ip.As4()}, nil
	}
	if !ip.IsValid() { // ":8080"
		return &unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte{127, 0, 0, 1}}, nil
	}
	return &unix.SockaddrInet6{Port: tcp.Port, Addr: ip.As16()}, nil
}
