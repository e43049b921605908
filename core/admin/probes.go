package admin

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"
)

// Probes answers the three questions that balancers and operators ask. It is
// immutable; its functions are called concurrently.
type Probes struct {
	// Ready says why no traffic should come, or nil. It must never ask a store,
	// discovery or an endpoint: a sick dependency must not take every instance
	// out of its balancer at once (SPEC OB3).
	Ready func() error
	// Checks says how each dependency is. What is not configured counts as well.
	Checks func() Checks
	// DegradedStatus is the status of /health when a check fails: 503, or 200 for
	// balancers that can only poll that page.
	DegradedStatus int
	// Now is the time written into /health.
	Now func() time.Time
}

// Checks holds one verdict for each kind of dependency; true is well.
type Checks struct {
	Redis        bool `json:"redis"`
	Database     bool `json:"database"`
	Services     bool `json:"services"`
	Certificates bool `json:"certificates"`
	Discovery    bool `json:"discovery"`
}

func (c Checks) well() bool {
	return c.Redis && c.Database && c.Services && c.Certificates && c.Discovery
}

func (c Checks) status() string {
	if c.well() {
		return "healthy"
	}
	return "degraded"
}

// health is the body of /health.
type health struct {
	Status    string    `json:"status"`
	Timestamp time.Time `json:"timestamp"`
	Ready     bool      `json:"ready"`
	Checks    Checks    `json:"checks"`
}

// The paths that Answer knows.
const (
	PathLivez  = "/livez"
	PathReadyz = "/readyz"
	PathHealth = "/health"
)

// Answer writes the answer of the probe at path. It returns an error for a path
// that is none.
func (p *Probes) Answer(path string, resp *fasthttp.Response) error {
	resp.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	switch path {
	case PathLivez:
		text(resp, fasthttp.StatusOK, "alive\n")
	case PathReadyz:
		p.readyz(resp)
	case PathHealth:
		return p.health(resp)
	default:
		return fmt.Errorf("%q is no probe; there are %s, %s and %s", path, PathLivez, PathReadyz, PathHealth)
	}
	return nil
}

// readyz is plain text: an orchestrator reads the status, a person the reason.
func (p *Probes) readyz(resp *fasthttp.Response) {
	if err := p.Ready(); err != nil {
		text(resp, fasthttp.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
		resp.Header.Set(fasthttp.HeaderRetryAfter, "1")
		return
	}
	text(resp, fasthttp.StatusOK, "ready\n")
}

func (p *Probes) health(resp *fasthttp.Response) error {
	h := health{Timestamp: p.Now().UTC(), Ready: p.Ready() == nil, Checks: p.Checks()}
	h.Status = h.Checks.status()
	status := fasthttp.StatusOK
	if !h.Checks.well() {
		status = p.DegradedStatus
	}
	body, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("writing the health report: %w", err)
	}
	resp.SetStatusCode(status)
	resp.Header.SetContentType("application/json")
	resp.SetBody(append(body, '\n'))
	return nil
}

func text(resp *fasthttp.Response, status int, body string) {
	resp.SetStatusCode(status)
	resp.Header.SetContentType("text/plain; charset=utf-8")
	resp.SetBodyString(body)
}
