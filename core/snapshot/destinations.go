package snapshot

import (
	"fmt"
	"slices"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/router"
)

// destinations compiles where a route sends its requests.
func (c *compiler) destinations(r *pipeline.Route, d *config.Route) error {
	var shares []pipeline.Share
	if d.Service != "" {
		to := c.destination(r, d.Service, &config.DestinationOptions{Timeouts: d.Timeouts, Retry: d.Retry})
		shares = append(shares, pipeline.Share{To: to, Weight: 1})
	}
	for _, s := range d.Split {
		shares = append(shares, pipeline.Share{To: c.destination(r, s.Service, &s.DestinationOptions), Weight: s.Weight})
	}
	var pins []pipeline.Pin
	for _, p := range d.Pin {
		asked, bad := router.NewConditions(p.Asked())
		if len(bad) > 0 {
			return fmt.Errorf("pin: %s: %s", bad[0].Field, bad[0].Text)
		}
		pins = append(pins, pipeline.Pin{To: c.destination(r, p.Service, &p.DestinationOptions), Request: asked, Caller: p.Caller()})
	}
	c.mirror(r, d.Mirror)
	if len(shares) > 1 || len(pins) > 0 {
		r.Split = pipeline.NewSplit(affinity(d.SplitBy), shares, pins)
	}
	return nil
}

// destination compiles one of them, and adds it to the route's unless they have it.
func (c *compiler) destination(r *pipeline.Route, service string, o *config.DestinationOptions) *pipeline.Destination {
	to := &pipeline.Destination{
		Service: c.services[service], Affinity: c.hashed[service], Timeouts: timeouts(*o.Timeouts), Retry: retry(o.Retry.Retry), RetryIdempotencyKey: o.Retry.IdempotencyKey,
	}
	if i := slices.IndexFunc(r.Destinations, func(other *pipeline.Destination) bool { return other.Same(to) }); i >= 0 {
		return r.Destinations[i]
	}
	to.Series = c.parts.Meter.Route(r.Name, service)
	c.closing(to.Series.Release)
	to.Fallback = c.fallback(r, to)
	r.Destinations = append(r.Destinations, to)
	return to
}

// mirror compiles who is shown copies of requests.
func (c *compiler) mirror(r *pipeline.Route, d *config.Mirror) {
	if d == nil {
		return
	}
	service := c.services[d.Service]
	r.Mirror = &pipeline.Mirror{To: &pipeline.Destination{Service: service, Affinity: c.hashed[d.Service], Timeouts: service.Timeouts}, Share: float64(d.Share)}
	if c.parts.Copier != nil {
		r.Mirror.Copier = c.parts.Copier(r, r.Mirror.To)
		c.closing(r.Mirror.Copier.Close)
	}
}

// affinity is what b says, as requests are told apart by it.
func affinity(b config.By) pipeline.Affinity {
	switch {
	case b.Header != "":
		return pipeline.Affinity{Kind: pipeline.ByHeader, Name: b.Header}
	case b.Cookie != "":
		return pipeline.Affinity{Kind: pipeline.ByCookie, Name: b.Cookie}
	default:
		return pipeline.Affinity{Kind: affinities[b.Word]}
	}
}

// affinities maps the words of the configuration; none is by nothing.
var affinities = map[string]pipeline.AffinityKind{"user": pipeline.ByUser, "cookie": pipeline.ByVisitor, "ip": pipeline.ByIP}
