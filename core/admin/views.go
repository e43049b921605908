package admin

import (
	"fmt"
	"math"
	"os"
	"time"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/upstream"
)

// RouteView is one route, as operators see it.
type RouteView struct {
	Name      string       `json:"name"`
	Listeners []string     `json:"listeners"` // none: any, as in the next three
	Methods   []string     `json:"methods"`
	Hosts     []string     `json:"hosts"`
	Paths     []string     `json:"paths"`
	Answer    string       `json:"answer"`
	Pins      []string     `json:"pins,omitempty"` // whom no share decides about, in their order
	Mirror    string       `json:"mirror,omitempty"`
	Plugins   []PluginView `json:"plugins"`
	At        string       `json:"at"` // file:line:column, or "built in"
}

// PluginView is one plugin of a route, with where its options come from.
type PluginView struct {
	Name string `json:"name"`
	At   string `json:"at"`
}

// Routes lists the routes of s in match order.
func Routes(s *snapshot.Snapshot) []RouteView {
	out := []RouteView{}
	s.Each(func(r *pipeline.Route, m *router.Match) {
		v := RouteView{
			Name: r.Name, Listeners: listed(m.Listeners), Methods: listed(m.Methods), Hosts: listed(m.Hosts), Paths: listed(m.Paths),
			Answer: Answer(r), Pins: Pins(r), Mirror: Mirrored(r), Plugins: []PluginView{}, At: r.At,
		}
		for _, p := range r.Chain.Named() {
			v.Plugins = append(v.Plugins, PluginView{p.Plugin, p.At})
		}
		out = append(out, v)
	})
	return out
}

// listed is a list that JSON writes as one even if it is empty.
func listed(list []string) []string { return append([]string{}, list...) }

// Answer says where the answers of a route come from.
func Answer(r *pipeline.Route) string {
	switch {
	case r.Split != nil:
		return r.Split.String()
	case len(r.Destinations) > 0:
		return "service " + r.ServiceName()
	case r.Redirect != nil:
		return fmt.Sprintf("redirect %d %s", r.Redirect.Status, r.Redirect.Location)
	case r.Respond != nil:
		return fmt.Sprintf("respond %d", r.Respond.Status)
	default:
		return "built in"
	}
}

// Pins says which requests of a route go to a service of their own, the first that fits
// first.
func Pins(r *pipeline.Route) []string {
	var out []string
	if r.Split != nil {
		for i := range r.Split.Pins {
			out = append(out, r.Split.Pins[i].String())
		}
	}
	return out
}

// Mirrored says who is shown copies of a route's requests; "": nobody.
func Mirrored(r *pipeline.Route) string {
	if r.Mirror == nil {
		return ""
	}
	return r.Mirror.String()
}

// serviceView is one service with its endpoints.
type serviceView struct {
	Name      string         `json:"name"`
	At        string         `json:"at"`
	Breaker   *breakerView   `json:"breaker,omitempty"`
	Bulkhead  *bulkheadView  `json:"bulkhead,omitempty"`
	Endpoints []endpointView `json:"endpoints"`
}

// breakerView is a circuit breaker as it is right now.
type breakerView struct {
	State  string `json:"state"`            // as in gateway_circuit_breaker_transitions_total
	Forced bool   `json:"forced,omitempty"` // an operator said so; it stays until one says auto
	// OpenSeconds is how long until requests may probe; rounded up.
	OpenSeconds int64  `json:"openSeconds,omitempty"`
	Outcomes    uint64 `json:"outcomes"` // in the window, of which
	Failures    uint64 `json:"failures"` // failed, and
	Slow        uint64 `json:"slow"`     // were slow
}

// bulkheadView is a bulkhead as it is right now.
type bulkheadView struct {
	InFlight int64 `json:"inFlight"`
	Queue    int64 `json:"queue"` // requests that wait for a place
	Limit    int64 `json:"limit"`
}

// endpointView is one endpoint as it is right now. Its connections are counted
// for all services that share them.
type endpointView struct {
	Address     string         `json:"address"`
	Weight      int            `json:"weight"`
	InFlight    int64          `json:"inFlight"`
	Connections connectionView `json:"connections"`

	InService bool       `json:"inService"`
	Health    string     `json:"health"`
	Reason    string     `json:"reason,omitempty"`    // why its last check did not pass
	LastCheck *time.Time `json:"lastCheck,omitempty"` // when that ended
	Drained   bool       `json:"drained"`
	Ejections uint64     `json:"ejections"`
	// EjectedSeconds is how long it stays away; rounded up.
	EjectedSeconds int64 `json:"ejectedSeconds,omitempty"`
}

type connectionView struct {
	Open int `json:"open"`
	Idle int `json:"idle"`
}

func services(inForce *snapshot.Snapshot) []serviceView {
	out := []serviceView{}
	for _, service := range inForce.Services {
		out = append(out, viewOf(inForce, service))
	}
	return out
}

// viewOf shows a service of the snapshot in force.
func viewOf(inForce *snapshot.Snapshot, service *upstream.Service) serviceView {
	v := serviceView{Name: service.Name, Endpoints: []endpointView{}}
	if d := inForce.Config.Service(service.Name); d != nil {
		v.At = d.At.String()
	}
	if seen, guarded := service.BreakerView(); guarded {
		v.Breaker = &breakerView{
			State: seen.State.Label(), Forced: seen.Forced != upstream.Unforced, OpenSeconds: int64(math.Ceil(seen.For.Seconds())),
			Outcomes: seen.Total, Failures: seen.Failures, Slow: seen.Slow,
		}
	}
	if b := service.Bulkhead; b != nil {
		seen := b.View()
		v.Bulkhead = &bulkheadView{InFlight: seen.InFlight, Queue: seen.Waiting, Limit: seen.Limit}
	}
	for _, e := range service.Members() {
		v.Endpoints = append(v.Endpoints, viewOfEndpoint(e))
	}
	return v
}

func viewOfEndpoint(e upstream.Member) endpointView {
	open, idle := e.Connections().Count()
	status := e.Status()
	v := endpointView{
		Address: e.Address, Weight: e.Weight, InFlight: e.InFlight(), Connections: connectionView{open, idle},
		InService: status.InService, Health: status.Health.String(), Drained: status.Drained,
		Ejections: status.Ejections, EjectedSeconds: int64(math.Ceil(status.Ejected.Seconds())),
	}
	if found, checked := e.Checked(); checked && !found.Last.IsZero() {
		v.Reason, v.LastCheck = found.Reason, &found.Last
	}
	return v
}

// connectionsView is who is connected.
type connectionsView struct {
	Open      int            `json:"open"`
	Maximum   int            `json:"maximum"` // 0: any number
	Upgraded  int            `json:"upgraded"`
	Listeners []listenerView `json:"listeners"`
	Tunnels   []tunnelView   `json:"tunnels"` // the oldest of those upgraded, at most tunnelsShown
}

// tunnelsShown bounds the list of upgraded connections: there may be ten thousand.
const tunnelsShown = 1000

// tunnelView is one connection that has left HTTP.
type tunnelView struct {
	ID            uint64    `json:"id"`
	CorrelationID string    `json:"correlationId"`
	Route         string    `json:"route"`
	Service       string    `json:"service"`
	Endpoint      string    `json:"endpoint"`
	Client        string    `json:"client"`
	OpenedAt      time.Time `json:"openedAt"`
	BytesIn       int64     `json:"bytesIn"`
	BytesOut      int64     `json:"bytesOut"`
}

// listenerView is one public listener.
type listenerView struct {
	Name          string `json:"name"`
	Address       string `json:"address"`
	Open          int    `json:"open"`
	Idle          int    `json:"idle"` // of those open
	Accepted      uint64 `json:"accepted"`
	AcceptErrors  uint64 `json:"acceptErrors"`
	RefusedFull   uint64 `json:"refusedFull"`
	RefusedPerIP  uint64 `json:"refusedPerIp"`
	NonConforming uint64 `json:"nonConforming"`
}

func (s *Server) connections() connectionsView {
	listeners, totals := s.options.API.Listeners()
	v := connectionsView{Open: totals.Open(), Maximum: totals.Maximum(), Listeners: []listenerView{}, Tunnels: []tunnelView{}}
	if upgraded := s.options.API.Connections; upgraded != nil {
		v.Upgraded = upgraded.Len()
		for _, t := range upgraded.List() {
			if len(v.Tunnels) == tunnelsShown {
				break
			}
			v.Tunnels = append(v.Tunnels, tunnelView{t.ID, t.CorrelationID, t.Route, t.Service, t.Endpoint, t.Client.String(), t.Opened.UTC(), t.BytesIn, t.BytesOut})
		}
	}
	for _, l := range listeners {
		v.Listeners = append(v.Listeners, listenerView{
			l.Name(), l.Addr().String(), l.Open(), l.Idle(),
			l.Accepted(), l.AcceptErrors(), l.RefusedFull(), l.RefusedPerIP(), l.NonConforming(),
		})
	}
	return v
}

// Status is what `gateway status` shows.
type Status struct {
	Version       string          `json:"version"` // of the program
	PID           int             `json:"pid"`
	StartedAt     time.Time       `json:"startedAt"`
	UptimeSeconds int64           `json:"uptimeSeconds"`
	Ready         bool            `json:"ready"`
	Reason        string          `json:"reason"` // why it is not ready; empty if it is
	Health        string          `json:"health"` // healthy or degraded
	Checks        Checks          `json:"checks"`
	LogLevel      string          `json:"logLevel"`
	Snapshot      InForce         `json:"snapshot"`
	Connections   connectionsView `json:"connections"`
}

func (s *Server) status() Status {
	api, probes := s.options.API, s.live.Load().probes
	v := Status{
		Version: api.Version, PID: os.Getpid(), StartedAt: api.Started, UptimeSeconds: int64(api.Now().Sub(api.Started) / time.Second),
		Ready: true, Checks: probes.Checks(), LogLevel: api.LogLevel.Level(),
		Snapshot: s.inForce(), Connections: s.connections(),
	}
	if err := probes.Ready(); err != nil {
		v.Ready, v.Reason = false, err.Error()
	}
	v.Health = v.Checks.status()
	return v
}
