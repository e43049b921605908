// Package dns asks name servers where a service is: for the addresses of a host (A and
// AAAA records), whose port is given, or for SRV records (RFC 2782), which name hosts
// and their ports.
//
// What is known is asked for again when its shortest TTL is over. A name server that
// does not answer, or says that there is nothing, changes nothing of what is known; of two families of
// addresses, or of many hosts of SRV records, each is kept for itself.
package dns

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/suuupra/gateway/core/discovery"
	"github.com/suuupra/gateway/core/upstream"
)

// Name is what services call this source.
const Name = "dns"

const (
	// longestTTL bounds how old an answer gets: a record of a day is asked for again long
	// before.
	longestTTL = 5 * time.Minute
	// atOnce is how many hosts of SRV records are asked for at the same time.
	atOnce = 16
	// negativeTTL is when to ask again for what is not there, at the latest.
	negativeTTL = 30 * time.Second
)

// Options are what New needs.
type Options struct {
	// Servers are host:port of name servers; empty: those of /etc/resolv.conf, with its
	// search domains.
	Servers    []string
	MinimumTTL time.Duration // a shorter TTL is taken for this; 0: one second
	// ResolvConf is /etc/resolv.conf if empty.
	ResolvConf string
}

// Source asks name servers. It may be used concurrently.
type Source struct {
	resolver resolver
	minimum  time.Duration
}

// New returns a source that has asked nothing yet.
func New(o Options) *Source {
	return &Source{
		resolver: resolver{servers: o.Servers, file: cmp.Or(o.ResolvConf, "/etc/resolv.conf"), port: "53"},
		minimum:  cmp.Or(o.MinimumTTL, time.Second),
	}
}

// Open implements discovery.Source.
func (s *Source) Open(d upstream.Discovery) discovery.Query {
	return &query{source: s, of: d, known: make(map[question]*memory)}
}

var _ discovery.Source = (*Source)(nil)

// query follows one name.
type query struct {
	source *Source
	of     upstream.Discovery
	round  uint64

	mu    sync.Mutex // the hosts of SRV records are asked for side by side
	known map[question]*memory
}

// question is what a name server is asked.
type question struct {
	name string // as configured, or as an SRV record has it
	kind uint16
}

// memory is the last good answer to one question.
type memory struct {
	records []dns.RR
	round   uint64 // that last asked; those that nobody asks any more are forgotten
}

// Next implements discovery.Query. Name servers can't tell of changes: wait is not used.
func (q *query) Next(ctx context.Context, _ time.Duration) (discovery.Answer, error) {
	q.round++
	defer q.forget()
	if q.of.Port == 0 {
		return q.services(ctx)
	}
	addresses, ttl, err := q.host(ctx, q.of.Name)
	if err != nil {
		return discovery.Answer{}, err
	}
	return discovery.Answer{Endpoints: endpoints(addresses, q.of.Name, q.of.Port, 1), Again: q.source.bounded(ttl)}, nil
}

// endpoints are the addresses of a host, each with the weight that the host has.
func endpoints(addresses []string, host string, port, weight int) []upstream.EndpointSpec {
	out := make([]upstream.EndpointSpec, len(addresses))
	header := join(strings.ToLower(strings.TrimSuffix(host, ".")), port)
	for i, a := range addresses {
		out[i] = upstream.EndpointSpec{Address: join(a, port), HostHeader: header, Weight: weight}
	}
	return out
}

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// bounded is a TTL that is neither too short nor too long to be followed.
func (s *Source) bounded(ttl time.Duration) time.Duration {
	return max(min(ttl, longestTTL), s.minimum)
}

// host returns the addresses of a name, and how long they are good. It fails if no
// family has one by a new answer; then they are those that it had last.
func (q *query) host(ctx context.Context, name string) (addresses []string, ttl time.Duration, err error) {
	ttl = longestTTL
	fresh := false
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		records, good, problem := q.lookup(ctx, question{name, kind})
		ttl = min(ttl, good)
		fresh = fresh || problem == nil
		if problem != nil && worse(problem, err) {
			err = problem
		}
		for _, r := range records {
			switch r := r.(type) {
			case *dns.A:
				addresses = append(addresses, r.A.String())
			case *dns.AAAA:
				addresses = append(addresses, r.AAAA.String())
			}
		}
	}
	if fresh {
		err = nil
	}
	return addresses, ttl, err
}

// worse says that a tells more than b: that one family has no address is the rule, and
// no explanation where the other one could not be asked for.
func worse(a, b error) bool {
	return b == nil || isNegative(b) && !isNegative(a)
}

// services returns what the SRV records of the name say.
func (q *query) services(ctx context.Context) (discovery.Answer, error) {
	records, ttl, err := q.lookup(ctx, question{q.of.Name, dns.TypeSRV})
	if err != nil {
		return discovery.Answer{}, err
	}
	var group []*dns.SRV // of the most preferred priority that there is
	for _, r := range records {
		s, ok := r.(*dns.SRV)
		if !ok || s.Port == 0 || s.Target == "." { // "." says that there is no such service
			continue
		}
		if len(group) > 0 && s.Priority < group[0].Priority {
			group = group[:0]
		}
		if len(group) == 0 || s.Priority == group[0].Priority {
			group = append(group, s)
		}
	}
	if len(group) == 0 {
		return discovery.Answer{}, negative(discovery.Empty, "the SRV records of %s name no host", q.of.Name)
	}
	return q.targets(ctx, group, ttl)
}

// targets asks for the hosts of a group of SRV records. One that can't be found is left
// out, unless all are.
func (q *query) targets(ctx context.Context, group []*dns.SRV, ttl time.Duration) (discovery.Answer, error) {
	var (
		asking sync.WaitGroup
		mu     sync.Mutex // guards what follows
		out    discovery.Answer
		failed error
		fresh  bool
	)
	turn := make(chan struct{}, atOnce)
	for _, s := range group {
		turn <- struct{}{}
		asking.Go(func() { // awaited below
			defer func() { <-turn }()
			addresses, good, err := q.target(ctx, s.Target)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				fresh = true
			} else if worse(err, failed) {
				failed = err
			}
			ttl = min(ttl, good)
			out.Endpoints = append(out.Endpoints, endpoints(addresses, s.Target, int(s.Port), int(s.Weight))...)
		})
	}
	asking.Wait()
	if !fresh {
		return discovery.Answer{}, failed
	}
	out.Again = q.source.bounded(ttl)
	return out, nil
}

// target is host for a goroutine of its own: what a broken answer makes panic must not
// end the program.
func (q *query) target(ctx context.Context, name string) (addresses []string, ttl time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			ttl, err = q.source.minimum, discovery.Fail(discovery.Nonsense, fmt.Errorf("BUG: asking for %s: %v", name, p))
		}
	}()
	return q.host(ctx, name)
}

// lookup returns the records that answer a question. If nobody answers it returns those
// of the last answer, with the error.
func (q *query) lookup(ctx context.Context, about question) (records []dns.RR, ttl time.Duration, err error) {
	records, ttl, err = q.source.resolver.resolve(ctx, about)
	q.mu.Lock()
	defer q.mu.Unlock()
	switch m := q.known[about]; {
	case err == nil:
		q.known[about] = &memory{records, q.round}
		return records, ttl, nil
	case isNegative(err):
		delete(q.known, about)
		return nil, negativeTTL, err
	case m == nil:
		return nil, q.source.minimum, err
	default:
		m.round = q.round
		return m.records, q.source.minimum, err
	}
}

// forget drops what this round did not ask for.
func (q *query) forget() {
	for about, m := range q.known {
		if m.round != q.round {
			delete(q.known, about)
		}
	}
}
