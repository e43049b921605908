package snapshot

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/upstream"
)

// service takes a declared service from the registry, which may know it already.
func (c *compiler) service(d *config.Service) error {
	spec := upstream.ServiceSpec{
		Name:     d.Name,
		Balance:  balances[d.Balance.Word],
		Timeouts: timeouts(d.Timeouts),
		Retry:    retry(d.Retry),
		Health:   health(d.Health),

		PanicThreshold: float64(d.PanicThreshold),
		SlowStart:      time.Duration(d.SlowStart),
		Connections: upstream.ConnectionSettings{
			Maximum: d.Connections.Maximum, Idle: d.Connections.Idle,
			IdleTimeout: time.Duration(d.Connections.IdleTimeout), Keepalive: d.Connections.KeepAlive,
		},
	}
	if e := d.Ejection; e != nil {
		spec.Ejection = upstream.Ejection{
			Consecutive: e.Consecutive, Ratio: float64(e.Ratio), Base: time.Duration(e.Base), MaximumShare: float64(e.MaximumShare),
		}
	}
	if b := d.Breaker; b != nil {
		spec.Breaker = breaker(b)
	}
	if b := d.Bulkhead; b != nil {
		spec.Bulkhead = upstream.BulkheadSpec{Maximum: b.Maximum, Queue: b.Queue, QueueTimeout: time.Duration(b.QueueTimeout), Adaptive: b.Adaptive}
	}
	for _, e := range d.Endpoints {
		spec.Endpoints = append(spec.Endpoints, upstream.EndpointSpec{Address: e.Address, HostHeader: e.Address, Weight: e.Weight, TLS: endpointTLS(d, e)})
	}
	if d.Discovered() {
		spec.Discovery = Found(d)
		spec.TLS = foundTLS(d)
	}
	s, err := c.parts.Services.Acquire(spec)
	if err != nil {
		return fmt.Errorf("%s: service %s: %w", d.At, d.Name, err)
	}
	c.closing(s.Release)
	c.services[d.Name], c.hashed[d.Name] = s, affinity(d.Balance.By)
	c.out.Services = append(c.out.Services, s)
	return nil
}

// Found says who finds the endpoints of d, which declares consul or dns. The words for sources
// are those of the configuration.
func Found(d *config.Service) upstream.Discovery {
	if d.Consul != nil {
		return upstream.Discovery{Source: "consul", Name: d.Consul.Service, Tag: d.Consul.Tag}
	}
	return upstream.Discovery{Source: "dns", Name: cmp.Or(d.DNS.SRV, d.DNS.Host), Port: d.DNS.Port}
}

// foundTLS is how endpoints of d are spoken to that are found: over TLS if it says
// anything of that.
func foundTLS(d *config.Service) upstream.TLS {
	if d.TLS == nil {
		return upstream.TLS{}
	}
	name := ""
	if d.DNS != nil {
		name = strings.TrimSuffix(d.DNS.Host, ".")
	}
	return endpointTLS(d, &config.Endpoint{Address: net.JoinHostPort(name, "0"), Secure: true})
}

// endpointTLS is how an endpoint of d is spoken to. Files are read by every load of
// the configuration: what has changed in them makes another endpoint.
func endpointTLS(d *config.Service, e *config.Endpoint) upstream.TLS {
	if !e.Secure {
		return upstream.TLS{}
	}
	out := upstream.TLS{ServerName: d.TLS.NameFor(e.Address), Minimum: d.TLS.Version()}
	if d.TLS != nil {
		// Where a text was read from changes nothing.
		out.Authorities, out.Certificate, out.Key = d.TLS.CA.Text(), d.TLS.Certificate.Text(), setting.NewSecret(d.TLS.Key.Reveal())
	}
	return out
}

// balances maps the words of the configuration to balancers.
var balances = map[string]upstream.Balance{
	"weighted_round_robin": upstream.WeightedRoundRobin,
	"least_requests":       upstream.LeastRequests,
	"random":               upstream.Random,
	"consistent_hash":      upstream.ConsistentHash,
}

func timeouts(t config.Timeouts) upstream.Timeouts {
	return upstream.Timeouts{
		Connect: time.Duration(t.Connect), Response: time.Duration(t.Response),
		Idle: time.Duration(t.Idle), Total: time.Duration(t.Total),
	}
}

func retry(r config.Retry) upstream.Retry {
	out := upstream.Retry{
		Retries: r.Retries, PerTry: time.Duration(r.PerTry), Budget: float64(r.Budget),
		Backoff: upstream.Backoff{Initial: time.Duration(r.Backoff.Initial), Maximum: time.Duration(r.Backoff.Maximum)},
	}
	for _, on := range r.When {
		out.When |= reasons[on]
	}
	return out
}

// health is how endpoints are checked; the zero value without h.
func health(h *config.Health) upstream.HealthCheck {
	if h == nil {
		return upstream.HealthCheck{}
	}
	out := upstream.HealthCheck{
		TCP: h.TCP, Path: h.Path, Body: h.Body,
		Interval: time.Duration(h.Interval), Timeout: time.Duration(h.Timeout), Backoff: time.Duration(h.Backoff),
		Rise: h.Rise, Fall: h.Fall,
	}
	if out.Statuses = upstream.StatusesOf(h.Status...); len(h.Status) == 0 {
		out.Statuses = upstream.StatusesOf(fasthttp.StatusOK)
	}
	return out
}

// reasons maps the words of the configuration to reasons for a retry.
var reasons = map[config.RetryOn]upstream.When{
	config.RetryOnConnect: upstream.OnConnect,
	config.RetryOnReset:   upstream.OnReset,
	config.RetryOnTimeout: upstream.OnTimeout,
	"500":                 upstream.On500,
	"502":                 upstream.On502,
	"503":                 upstream.On503,
	"504":                 upstream.On504,
}

func breaker(b *config.Breaker) upstream.BreakerSpec {
	out := upstream.BreakerSpec{
		Window: time.Duration(b.Window), Minimum: b.Minimum, Failures: float64(b.Failures), Consecutive: b.Consecutive,
		Open: time.Duration(b.Open), OpenMaximum: time.Duration(b.OpenMaximum), Probes: b.Probes, Shared: b.Shared,
	}
	if b.Slow != nil {
		out.SlowOver, out.SlowShare = time.Duration(b.Slow.Over), float64(b.Slow.Share)
	}
	return out
}

// fallback is what answers for a service of r while its breaker refuses; nil if it says
// nothing. Another service is asked under the timeouts and retries that the request has.
func (c *compiler) fallback(r *pipeline.Route, to *pipeline.Destination) *pipeline.Fallback {
	d := c.config.Service(to.Service.Name)
	if d.Breaker == nil || d.Breaker.Fallback == nil {
		return nil
	}
	f := d.Breaker.Fallback
	switch {
	case f.Service != "":
		other := *to
		other.Service, other.Affinity = c.services[f.Service], c.hashed[f.Service]
		other.Series = c.parts.Meter.Route(r.Name, f.Service)
		c.closing(other.Series.Release)
		return &pipeline.Fallback{To: &other}
	case f.Body != "":
		return &pipeline.Fallback{Static: &pipeline.Static{Status: cmp.Or(f.Status, fasthttp.StatusOK), Body: []byte(f.Body), ContentType: f.ContentType}}
	default:
		return &pipeline.Fallback{Fault: fault.CircuitOpen.WithStatus(f.Status).Detail(f.Detail)}
	}
}

// parameters returns the names that every path of the match binds, with those of
// its hosts: only they are there for a template whatever path was taken.
func parameters(m *config.Match) ([]string, error) {
	var names []string
	for i, text := range m.AllPaths() {
		p, err := router.ParsePattern(text)
		if err != nil {
			return nil, fmt.Errorf("match.path: %w", err)
		}
		if i == 0 {
			names = append(names, p.Names()...)
			continue
		}
		names = slices.DeleteFunc(names, func(n string) bool { return !slices.Contains(p.Names(), n) })
	}
	return names, nil
}

func hasQuery(to string) bool { return strings.Contains(to, "?") }
