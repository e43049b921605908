package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/suuupra/gateway/core/setting"
)

// Breaker says when a service is not called for a while because it fails.
type Breaker struct {
	Node   *setting.Node    `yaml:"@node"`
	Window setting.Duration `yaml:"window" default:"10s" min:"1s" max:"1h" doc:"Outcomes older than that don't count. What counts is the outcome after retries: no connection, a timeout and a 5xx are failures."`
	// Minimum bounds the shares only, not Consecutive.
	Minimum     int              `yaml:"minimum" default:"20" min:"1" max:"1000000" doc:"Outcomes within the window below which no share opens the breaker."`
	Failures    setting.Share    `yaml:"failures" default:"50%" off:"true" doc:"Share of failures that opens the breaker."`
	Consecutive int              `yaml:"consecutive" default:"10" off:"true" min:"1" max:"1000000" doc:"Failures in a row that open the breaker."`
	Slow        *Slow            `yaml:"slow" doc:"Slow answers that open the breaker; off by default."`
	Open        setting.Duration `yaml:"open" default:"5s" min:"10ms" max:"1h" doc:"How long the breaker stays open before requests probe the service; doubles with each relapse."`
	OpenMaximum setting.Duration `yaml:"open_maximum" default:"60s" min:"10ms" max:"1h" doc:"The longest time that the breaker stays open."`
	Probes      int              `yaml:"probes" default:"3" min:"1" max:"1000" doc:"Requests that must go well, none failing, until the breaker closes."`
	Shared      bool             `yaml:"shared" default:"true" doc:"Instances tell each other through Redis, where that is declared."`
	Fallback    *Fallback        `yaml:"fallback" doc:"What answers while the breaker refuses, in place of the fault circuit_open."`
}

// Slow says which answers are too slow.
type Slow struct {
	Over  setting.Duration `yaml:"over" default:"5s" min:"1ms" max:"1h" doc:"From when on an answer is slow, to its head, retries included."`
	Share setting.Share    `yaml:"share" default:"80%" doc:"Share of slow answers that opens the breaker."`
}

// Fallback answers while a breaker refuses: another service, a fixed answer, or the fault
// with a text of its own.
type Fallback struct {
	Node        *setting.Node `yaml:"@node"`
	Service     string        `yaml:"service" doc:"A service that is asked instead, with its own breaker and bulkhead; its fallback is not taken."`
	Status      int           `yaml:"status" min:"200" max:"599" doc:"Status of the answer; 503 by default, 200 with a body."`
	Detail      string        `yaml:"detail" doc:"Detail of the fault circuit_open."`
	Body        string        `yaml:"body" doc:"Body of a fixed answer."`
	ContentType string        `yaml:"content_type" default:"text/plain; charset=utf-8" doc:"Media type of the body."`
}

// Bulkhead bounds how much of a service is under way.
type Bulkhead struct {
	Maximum      int              `yaml:"maximum" default:"1000" min:"1" max:"1000000" doc:"Requests under way at once, until the body of their answer is through."`
	Queue        int              `yaml:"queue" default:"200" min:"0" max:"1000000" doc:"Requests that may wait for a place, first come first served."`
	QueueTimeout setting.Duration `yaml:"queue_timeout" default:"100ms" min:"1ms" max:"10m" doc:"How long each of them may wait; never longer than timeouts.total."`
	Adaptive     bool             `yaml:"adaptive" default:"false" doc:"Find the limit by the service's latency, up to maximum."`
}

// guard checks what several keys of a breaker say together.
func (c *checker) guard(s *Service) {
	b := s.Breaker
	n := mapOf(s.Node.Get("breaker"))
	if b == nil || n == nil {
		return
	}
	if b.Open > 0 && b.OpenMaximum > 0 && b.Open > b.OpenMaximum {
		c.r.In(n).AddField("open_maximum", "want an open_maximum that is not below open, got "+b.OpenMaximum.String()+" and "+b.Open.String(), "")
	}
	c.someShare(n, "failures", "failures: off")
	if slow := mapOf(n.Get("slow")); slow != nil {
		c.someShare(slow, "share", "no slow")
	}
	if off(n, "failures") && off(n, "consecutive") && missing(n, "slow") {
		c.r.AddNode(n, "want one of failures, consecutive and slow: nothing opens this breaker", "")
	}
	if b.Fallback != nil {
		c.fallback(s, b.Fallback)
	}
}

// someShare checks that a share is not 0%, which every request would reach.
func (c *checker) someShare(n *setting.Node, key, none string) {
	v := given(n, key)
	if v == nil {
		return
	}
	var share setting.Share
	if err := share.UnmarshalText([]byte(v.Text)); err == nil && share == 0 && !v.IsOff() {
		c.r.AddNode(v, "want a share above 0%; for none write "+none, "")
	}
}

// off says that a key is switched off, which it is not by default.
func off(n *setting.Node, key string) bool {
	v := n.Get(key)
	return v != nil && v.IsOff()
}

func (c *checker) fallback(s *Service, f *Fallback) {
	n := mapOf(f.Node)
	if n == nil {
		return
	}
	kinds := slices.DeleteFunc([]string{"service", "body", "detail"}, func(key string) bool { return missing(n, key) })
	switch {
	case len(kinds) > 1:
		c.r.AddNode(n, "want one of service, body and detail, got "+strings.Join(kinds, " and "), "")
		return
	case len(n.Entries) == 0:
		c.r.AddNode(n, "want one of service, body and detail", "")
		return
	}
	body, service := !missing(n, "body"), !missing(n, "service")
	if t := given(n, "content_type"); t != nil && (!body || f.ContentType != "" && !isMediaType(f.ContentType)) {
		c.r.AddNode(t, "want a media type such as application/json, beside a body", "")
	}
	status := given(n, "status")
	switch {
	case status == nil:
	case service:
		c.r.AddNode(status, "the service says the status", "")
	case body && (f.Status == 204 || f.Status == 205 || f.Status == 304):
		c.r.AddNode(status, "an answer with status "+strconv.Itoa(f.Status)+" has no body (RFC 9110 §15)", "")
	case !body && f.Status != 0 && f.Status < 400:
		c.r.AddNode(status, "want a status from 400 on: without a body the answer is a fault", "")
	}
	if service {
		c.fallbackService(s, f, given(n, "service"))
	}
}

// fallbackService checks that there is such a service, and that it is another one. Two may stand
// in for each other: there is one hop.
func (c *checker) fallbackService(s *Service, f *Fallback, n *setting.Node) {
	if n == nil || f.Service == "" {
		return
	}
	c.used["service "+f.Service] = true
	if !slices.Contains(c.services, f.Service) {
		c.r.AddNode(n, "want the name of a service, got "+n.Describe(), nearest(n, c.services))
		return
	}
	if f.Service == s.Name {
		c.r.AddNode(n, "want another service: this one is what can't be called", "")
	}
}
