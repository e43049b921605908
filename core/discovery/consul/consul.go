// Package consul asks Consul which instances of a service pass their checks. It waits
// for changes by blocking queries, which any server of Consul answers, be it a moment
// behind its leader: what is known a second late is better than what only a leader knows.
//
// An agent's index may go backwards, after a restart or a restore of its servers: then
// it is asked anew, and its answer is doubtful. An answer without an index is not one of
// Consul's, whatever it holds.
package consul

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/suuupra/gateway/core/discovery"
	"github.com/suuupra/gateway/core/upstream"
)

// Name is what services call this source.
const Name = "consul"

const (
	dialWithin = 2 * time.Second
	// slack is how much longer than asked an answer may take: Consul adds a sixteenth of
	// the wait to it, so that clients don't come back in step.
	slack = 5 * time.Second
	// largestAnswer bounds what is read of one answer, in bytes: 4,000 instances with
	// their checks have 8 MB.
	largestAnswer = 32 << 20
)

// Options are what New needs.
type Options struct {
	Address    string // http://host:port or https://host:port
	Token      string // of the ACL; empty: none. SetToken changes it
	Datacenter string // empty: that of the agent
	TLS        *tls.Config
}

// Source asks one agent, or one server, of Consul. It may be used concurrently.
type Source struct {
	client     *api.Client
	transport  *http.Transport
	datacenter string
	token      atomic.Pointer[string]
}

// New returns a source that has asked nothing yet.
func New(o Options) (*Source, error) {
	at, err := url.Parse(o.Address)
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	s := &Source{datacenter: o.Datacenter}
	s.SetToken(o.Token)
	s.transport = &http.Transport{ // no proxy of the environment (SECURITY C13)
		DialContext:         (&net.Dialer{Timeout: dialWithin, KeepAlive: 10 * time.Second}).DialContext,
		TLSClientConfig:     o.TLS,
		TLSHandshakeTimeout: dialWithin,
		IdleConnTimeout:     time.Minute,
		// An answer's head comes when the wait is over.
		MaxResponseHeaderBytes: 64 << 10,
	}
	s.client, err = api.NewClient(&api.Config{
		Address: at.Host, Scheme: at.Scheme, Transport: s.transport,
		HttpClient: &http.Client{
			Transport:     s,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	return s, nil
}

// SetToken changes the token from the next question on.
func (s *Source) SetToken(token string) { s.token.Store(&token) }

// Close closes idle connections. Nobody asks any more.
func (s *Source) Close() { s.transport.CloseIdleConnections() }

// tokenField is what carries the token of the ACL.
const tokenField = "X-Consul-Token"

// RoundTrip implements http.RoundTripper for the library: the token is ours, never one of
// the environment, and an answer has an end.
func (s *Source) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del(tokenField)
	if token := *s.token.Load(); token != "" {
		r.Header.Set(tokenField, token)
	}
	resp, err := s.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &bounded{resp.Body, largestAnswer}
	return resp, nil
}

// errTooLarge ends an answer that is too long.
var errTooLarge = fmt.Errorf("the answer is larger than %d MiB", largestAnswer>>20)

// bounded is a body that ends with an error where it gets too long.
type bounded struct {
	io.ReadCloser
	left int
}

// Read reads what there is.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Open implements discovery.Source.
func (s *Source) Open(d upstream.Discovery) discovery.Query { return &query{source: s, of: d} }

var _ discovery.Source = (*Source)(nil)

// query follows one service.
type query struct {
	source *Source
	of     upstream.Discovery
	index  uint64 // of the last answer; 0: the next one comes at once
	lost   bool   // there was no answer since
}

// Next implements discovery.Query.
func (q *query) Next(ctx context.Context, wait time.Duration) (discovery.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+wait/16+slack)
	defer cancel()
	o := (&api.QueryOptions{Datacenter: q.source.datacenter, AllowStale: true, WaitIndex: q.index, WaitTime: wait}).WithContext(ctx)
	entries, meta, err := q.source.client.Health().Service(q.of.Name, q.of.Tag, true, o)
	if err == nil && meta.LastIndex == 0 {
		err = errors.New("the answer has no index: is this Consul?")
	}
	if err != nil {
		doubtful := q.index != 0 || q.lost
		q.index, q.lost = 0, doubtful
		return discovery.Answer{}, failure(err)
	}
	backwards := meta.LastIndex < q.index
	// X-Consul-KnownLeader tells nothing: agents that are streamed to (the default since
	// 1.10) never know of a leader in answers to blocking queries (seen with 1.13.9).
	a := discovery.Answer{Endpoints: endpoints(entries), Doubtful: q.lost || backwards}
	if len(a.Endpoints) == 0 && meta.ResultsFilteredByACLs {
		q.index, q.lost = 0, true
		return discovery.Answer{}, discovery.Fail(discovery.Denied, errors.New("the token may not read this service: it needs service:read and node:read"))
	}
	q.index, q.lost = meta.LastIndex, false
	if backwards {
		q.index = 0
	}
	return a, nil
}

// failure says what kind of error the library's is.
func failure(err error) error {
	var status api.StatusError
	var transport *url.Error
	var broken net.Error
	switch {
	case errors.Is(err, errTooLarge):
		return discovery.Fail(discovery.Nonsense, err)
	case errors.As(err, &transport):
		return discovery.Fail(discovery.Unreachable, transport.Err) // without the URL, which the library repeats
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &broken):
		return discovery.Fail(discovery.Unreachable, fmt.Errorf("the answer broke off: %w", err))
	case !errors.As(err, &status):
		return discovery.Fail(discovery.Nonsense, fmt.Errorf("not an answer of Consul: %w", err))
	case status.Code == http.StatusUnauthorized || status.Code == http.StatusForbidden:
		return discovery.Fail(discovery.Denied, fmt.Errorf("status %d: the token may not read this service: it needs service:read and node:read", status.Code))
	case status.Code == http.StatusTooManyRequests:
		return discovery.Fail(discovery.Overloaded, fmt.Errorf("status %d: it is asked too often", status.Code))
	case status.Code >= 500:
		return discovery.Fail(discovery.Broken, fmt.Errorf("status %d: %.200q", status.Code, status.Body))
	default:
		return discovery.Fail(discovery.Nonsense, fmt.Errorf("status %d is no answer of Consul", status.Code))
	}
}

// endpoints are the instances of an answer.
func endpoints(entries []*api.ServiceEntry) []upstream.EndpointSpec {
	out := make([]upstream.EndpointSpec, 0, len(entries))
	for _, e := range entries {
		if e == nil || e.Service == nil {
			continue
		}
		host := e.Service.Address
		if e.Node != nil {
			host = cmp.Or(host, e.Node.Address) // an instance without an address has that of its node
		}
		address := net.JoinHostPort(host, strconv.Itoa(e.Service.Port))
		out = append(out, upstream.EndpointSpec{Address: address, Weight: e.Service.Weights.Passing})
	}
	return out
}
