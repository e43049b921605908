package config

import (
	"slices"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/setting"
)

// Config is one checked configuration with all defaults filled in. It is
// immutable. Every At is where the thing was written, for later messages.
//
// Zero means "off" or "derive" only where a field says so.
type Config struct {
	Listeners []*Listener `yaml:"listen,named" doc:"Public listeners by name; one named public on :8080 if none is declared."`
	Admin     Admin       `yaml:"admin" doc:"The listener for operators: metrics, health, profiles."`
	// Directory is what the file says, made relative to that file.
	Directory      string         `yaml:"directory" default:"/var/lib/gateway" doc:"Where the gateway keeps files of its own, relative to the file that says so; mode 0700."`
	TrustedProxies []setting.CIDR `yaml:"trusted_proxies" doc:"Networks whose X-Forwarded-For is believed; nobody by default."`
	Probes         Probes         `yaml:"probes" doc:"Health answers."`
	Shutdown       Shutdown       `yaml:"shutdown" doc:"How the gateway stops."`
	Limits         Limits         `yaml:"limits" doc:"What a connection or a request may cost, before any policy."`
	// Stores is nil where everything is kept on this machine.
	Stores *Stores `yaml:"stores" doc:"Servers that keep what must outlive this process or be known to other instances; without them everything is kept on this machine."`
	// Identity is nil where nothing is said of it: then nobody can be authenticated.
	Identity *Identity `yaml:"identity" doc:"Who may call, and how they prove it."`
	// Policies and Limiter say how often, and where that is counted; which requests
	// count is up to plugin rate_limit.
	Policies       []*Policy  `yaml:"policies,named" doc:"Rate-limit policies by name."`
	Limiter        Limiter    `yaml:"limiter" doc:"Where requests are counted."`
	OddHeaderNames string     `yaml:"odd_header_names" default:"drop" enum:"drop|refuse|allow" doc:"What happens to header fields whose names hold other characters than letters, digits and hyphens."`
	Discovery      Discovery  `yaml:"discovery" doc:"Who knows the endpoints of services that don't declare them."`
	Services       []*Service `yaml:"services,named" doc:"Named groups of endpoints."`
	Defaults       Defaults   `yaml:"defaults" doc:"What every service and every route starts from."`
	Profiles       []*Profile `yaml:"profiles,named" sparse:"true" doc:"Named parts of routes, taken by use."`
	Routes         []*Route   `yaml:"routes,named" doc:"Named routes; their order never matters."`
	Telemetry      Telemetry  `yaml:"telemetry" doc:"What the gateway tells about itself."`

	policies map[string]*limit.Policy // of Policies, by name

	tree    *setting.Node // the effective tree that all this was decoded from
	secrets func(setting.Position) bool
}

// Service returns the service of that name, or nil.
func (c *Config) Service(name string) *Service {
	i, found := slices.BinarySearchFunc(c.Services, name, func(s *Service, name string) int {
		switch {
		case s.Name < name:
			return -1
		case s.Name > name:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return c.Services[i]
}

// Listener returns the listener of that name, or nil.
func (c *Config) Listener(name string) *Listener {
	i := slices.IndexFunc(c.Listeners, func(l *Listener) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return c.Listeners[i]
}

// Listener is one public listener.
type Listener struct {
	Name    string           `yaml:"@key"`
	At      setting.Position `yaml:"@at"`
	Node    *setting.Node    `yaml:"@node"`
	Address string           `yaml:"address" doc:"host:port; without a host, all addresses of the machine; port 0 takes a free one."`
	// TLS is nil on a listener that speaks plain HTTP.
	TLS *TLS `yaml:"tls" doc:"Speak TLS: certificates, and what clients must show."`
	// RedirectFrom is empty where no listener sends clients here.
	RedirectFrom string `yaml:"redirect_from" doc:"Address of a plain listener that sends its clients to this one by 308; with tls only."`
	// RedirectPort is 0 for the listener's own port.
	RedirectPort int `yaml:"redirect_port" min:"1" max:"65535" doc:"Port that redirect_from sends clients to, where it is another one outside; by default the listener's own."`
	// ProxyProtocol is nil where connections begin with no PROXY header.
	ProxyProtocol *ProxyProtocol `yaml:"proxy_protocol" doc:"Every connection begins with a PROXY protocol header (version 1 or 2) that names the client."`
}

// Admin is the listener for operators. Its address is always a loopback one.
type Admin struct {
	At      setting.Position   `yaml:"@at"`
	Node    *setting.Node      `yaml:"@node"` // nil if the block was left out
	Address string             `yaml:"address" default:"127.0.0.1:9901" doc:"host:port on a loopback address."`
	Hosts   setting.StringList `yaml:"hosts" doc:"Further values of the Host field that are answered, beside loopback names."`
	Tokens  []*AdminToken      `yaml:"tokens,named" doc:"Bearer tokens by name; if there is none, one is generated into directory."`
}

// The roles of an admin token.
const (
	RoleRead  = "read"
	RoleWrite = "write"
)

// AdminToken lets its holder use the admin API. Its name stands in the audit log.
type AdminToken struct {
	Name  string           `yaml:"@key"`
	At    setting.Position `yaml:"@at"`
	Node  *setting.Node    `yaml:"@node"`
	Role  string           `yaml:"role" default:"read" enum:"read|write" doc:"read looks; write also changes and profiles."`
	Token setting.Secret   `yaml:"token" doc:"32 to 1024 letters, digits and - . _ ~ + / with = at the end only; better in token_file."`
}

// Probes says how health is answered.
type Probes struct {
	Public         setting.StringList `yaml:"public" enum:"/livez|/readyz|/health" doc:"Probes that the public listeners answer as well."`
	DegradedStatus int                `yaml:"degraded_status" default:"503" enum:"200|503" doc:"Status of /health while degraded."`
}

// Shutdown says how the gateway stops.
type Shutdown struct {
	Delay setting.Duration `yaml:"delay" default:"5s" max:"1h" doc:"How long traffic is still accepted after /readyz says 503."`
	Drain setting.Duration `yaml:"drain" default:"30s" max:"24h" doc:"How long running requests may take after that."`
}

// Limits is what a connection or request may cost.
type Limits struct {
	// Connections in all; 0: derive from RLIMIT_NOFILE at start.
	Connections int `yaml:"connections" min:"1" max:"10000000" doc:"Open connections in all; by default derived from the limit of open files."`
	// ConnectionsPerIP is per client address; 0: off.
	ConnectionsPerIP int          `yaml:"connections_per_ip" default:"off" off:"true" min:"1" max:"10000000" doc:"Open connections of one address; off by default."`
	URI              setting.Size `yaml:"uri" default:"8KiB" min:"64B" max:"1MiB" doc:"Bytes of the request target."`
	Header           setting.Size `yaml:"header" default:"16KiB" min:"256B" max:"1MiB" doc:"Bytes of the whole request head."`
	Headers          int          `yaml:"headers" default:"100" min:"1" max:"10000" doc:"Field lines of a request head."`
	// Body is per request; setting.Unlimited (-1) if written so. Routes carry their own.
	Body setting.Size `yaml:"body" default:"10MiB" unlimited:"true" doc:"Bytes of a request body, or unlimited."`
	// Buffer is the largest body that is held in memory. Routes carry their own.
	Buffer        setting.Size     `yaml:"buffer" default:"64KiB" max:"64MiB" doc:"Bodies up to this are buffered and may be retried; larger ones stream."`
	HeaderTimeout setting.Duration `yaml:"header_timeout" default:"10s" min:"1ms" max:"1h" doc:"How long a request head may take to arrive."`
	BodyTimeout   setting.Duration `yaml:"body_timeout" default:"30s" min:"1ms" max:"24h" doc:"How long two reads of a request body may lie apart."`
	IdleTimeout   setting.Duration `yaml:"idle_timeout" default:"60s" min:"1ms" max:"24h" doc:"How long a kept-alive connection may be idle."`
}

// Service is a named group of endpoints.
type Service struct {
	Name      string           `yaml:"@key"`
	At        setting.Position `yaml:"@at"`
	Node      *setting.Node    `yaml:"@node"`
	Endpoints []*Endpoint      `yaml:"endpoints" doc:"Addresses that the service answers on."`
	// Consul and DNS are nil where endpoints are declared.
	Consul      *ServiceConsul `yaml:"consul" doc:"Endpoints are the instances in Consul that pass their checks."`
	DNS         *ServiceDNS    `yaml:"dns" doc:"Endpoints are what name servers say."`
	Balance     Balance        `yaml:"balance" default:"weighted_round_robin" doc:"How requests are spread over the endpoints: weighted_round_robin, least_requests, random or {consistent_hash: {by: user}}, where by is user, cookie (the gateway's own), ip, {header: NAME} or {cookie: NAME}."`
	Timeouts    Timeouts       `yaml:"timeouts" doc:"How long to wait for the service; a route may override each."`
	Connections Connections    `yaml:"connections" doc:"Connections to each endpoint."`
	Retry       Retry          `yaml:"retry" doc:"When a request is sent again; off for never. A route may override each key."`
	// Health is nil where nothing is checked.
	Health *Health `yaml:"health" doc:"Check each endpoint by requests of the gateway's own; off unless declared."`
	// Ejection is nil where nothing is ejected.
	Ejection       *Ejection        `yaml:"ejection" doc:"Take endpoints out of rotation for a while whose requests fail; {} for the defaults. Off unless declared."`
	PanicThreshold setting.Share    `yaml:"panic_threshold" default:"50%" doc:"When a smaller share of the endpoints is in service than this, requests are spread over all but drained ones; 0% for never."`
	SlowStart      setting.Duration `yaml:"slow_start" default:"off" off:"true" min:"100ms" max:"1h" doc:"How long the weight of an endpoint grows that recovers or joins the others; off by default."`
	// Breaker and Bulkhead are nil where nothing is guarded.
	Breaker  *Breaker  `yaml:"breaker" doc:"Stop calling the service for a while when it fails; {} for the defaults. Off unless declared."`
	Bulkhead *Bulkhead `yaml:"bulkhead" doc:"Bound the requests under way; {} for the defaults. Off unless declared."`
	// TLS is nil where the defaults are good, and without https endpoints.
	TLS *ServiceTLS `yaml:"tls" doc:"How https endpoints are verified, and what is shown to them; they are always verified."`
}

// Endpoint is one address of a service.
type Endpoint struct {
	At     setting.Position `yaml:"@at"`
	Node   *setting.Node    `yaml:"@node"`
	URL    string           `yaml:"url" doc:"http://host:port or https://host:port"`
	Weight int              `yaml:"weight" default:"1" min:"1" max:"1000" doc:"Share of the requests, relative to the other endpoints."`

	// Address is the host:port of URL, the host in lower case.
	Address string `yaml:"-"`
	// Secure says that URL begins with https.
	Secure bool `yaml:"-"`
}

// Timeouts bounds what the gateway waits for; 0: off, no bound of this kind.
type Timeouts struct {
	Connect  setting.Duration `yaml:"connect" default:"1s" min:"1ms" max:"10m" doc:"Until a connection to an endpoint stands."`
	Response setting.Duration `yaml:"response" default:"10s" off:"true" min:"1ms" max:"24h" doc:"From the request sent to the response head, each try."`
	Idle     setting.Duration `yaml:"idle" default:"60s" off:"true" min:"1ms" max:"24h" doc:"Between two bytes, both ways."`
	Total    setting.Duration `yaml:"total" default:"30s" off:"true" min:"1ms" max:"24h" doc:"To the response head, retries and queueing included; never cuts a body."`
}

// Connections bounds the connections to each endpoint of a service.
type Connections struct {
	Maximum     int              `yaml:"maximum" default:"512" min:"1" max:"100000" doc:"Open connections to one endpoint."`
	Idle        int              `yaml:"idle" default:"64" min:"0" max:"100000" doc:"Idle connections kept for one endpoint; never more than maximum."`
	IdleTimeout setting.Duration `yaml:"idle_timeout" default:"30s" min:"1ms" max:"24h" doc:"How long an idle connection is kept."`
	KeepAlive   bool             `yaml:"keepalive" default:"true" doc:"off: each request has a connection of its own, for services whose framing can't be trusted."`
}

// Retry says when a request is sent again. Retries 0: never; that is what
// `retry: off` means.
type Retry struct {
	Retries int `yaml:"retries" default:"1" min:"0" max:"10" doc:"Further tries, each at another endpoint if there is one."`
	// PerTry bounds one try to its response head; 0: off, Timeouts alone bound it.
	PerTry  setting.Duration `yaml:"per_try" default:"off" off:"true" min:"1ms" max:"24h" doc:"How long one try may take to its response head; off by default."`
	When    []RetryOn        `yaml:"when" default:"connect,reset,timeout,502,503,504" doc:"What counts as a failed try; 500 too, where a service means by it that another endpoint may do better."`
	Budget  setting.Share    `yaml:"budget" default:"20%" doc:"Retries as a share of the service's requests of the last 10 s."`
	Backoff Backoff          `yaml:"backoff" doc:"How long to wait before a further try, with jitter."`
}

// Ejection says when an endpoint is taken out of rotation because requests to it
// fail: by connection errors, timeouts, broken answers and 5xx but 501 and 505.
type Ejection struct {
	At           setting.Position `yaml:"@at"`
	Node         *setting.Node    `yaml:"@node"`
	Consecutive  int              `yaml:"consecutive" default:"5" off:"true" min:"1" max:"10000" doc:"Failed tries in a row; off to count none."`
	Ratio        setting.Share    `yaml:"ratio" default:"80%" off:"true" doc:"Failed tries as a share of those of 10 s, of which there must be 20; off to look at none."`
	Base         setting.Duration `yaml:"base" default:"30s" min:"100ms" max:"1h" doc:"How long an endpoint stays away; doubles with each relapse, up to ten times this."`
	MaximumShare setting.Share    `yaml:"maximum_share" default:"50%" doc:"Endpoints that may be ejected at once; one always may, and never the last in service."`
}

// Disable makes `retry: off` mean no retries.
func (r *Retry) Disable() { r.Retries = 0 }

// Backoff is the wait before a further try.
type Backoff struct {
	Initial setting.Duration `yaml:"initial" default:"10ms" min:"1ms" max:"1m" doc:"Before the first further try; doubles with each."`
	Maximum setting.Duration `yaml:"maximum" default:"250ms" min:"1ms" max:"10m" doc:"The longest wait."`
}

// Defaults is what every service and every route starts from. Load has merged it
// under each of them already. Plugins also run for requests that match no route.
type Defaults struct {
	Service *Service                 `yaml:"service" sparse:"true" doc:"Merged under each service, key by key."`
	Plugins map[string]*setting.Node `yaml:"plugins" doc:"Merged under the plugins of each route, key by key."`
}

// Profile is a named part of a route. Load has merged it into the routes that
// use it already.
type Profile struct {
	Name         string           `yaml:"@key"`
	At           setting.Position `yaml:"@at"`
	Node         *setting.Node    `yaml:"@node"`
	RouteOptions `yaml:",inline"`
}

// Route is a match and what happens to the requests that match: exactly one of
// Service, Split, Redirect and Respond is set.
type Route struct {
	Name         string             `yaml:"@key"`
	At           setting.Position   `yaml:"@at"`
	Node         *setting.Node      `yaml:"@node"`
	Use          setting.StringList `yaml:"use" doc:"Profiles that this route takes; later ones win over earlier ones, and the route over all."`
	RouteOptions `yaml:",inline"`
}

// RouteOptions is what a route and a profile may hold.
type RouteOptions struct {
	Priority    int                `yaml:"priority" default:"0" min:"-1000000" max:"1000000" doc:"Higher ones are matched first, whatever their hosts and paths."`
	Match       Match              `yaml:"match" doc:"Which requests the route takes; what is left out matches all."`
	Service     string             `yaml:"service" doc:"The service that answers."`
	Split       []*SplitTo         `yaml:"split,named" doc:"Services that answer, each with its weight, in place of one."`
	SplitBy     By                 `yaml:"split_by" doc:"Whose requests stay with one service of split: user, cookie (the gateway's own), ip, {header: NAME} or {cookie: NAME}; by default every request is for itself."`
	Pin         []*Pin             `yaml:"pin" doc:"Requests that go to a service of their own; the first that fits decides."`
	Mirror      *Mirror            `yaml:"mirror" doc:"A service that gets copies of requests, whose answers nobody sees."`
	StripPrefix string             `yaml:"strip_prefix" doc:"Literal prefix that is taken off the path."`
	Rewrite     string             `yaml:"rewrite" doc:"Path sent to the service, such as /v2/{rest}; the query is kept."`
	Redirect    *Redirect          `yaml:"redirect" doc:"Answer with a redirect instead of a service."`
	Respond     *Respond           `yaml:"respond" doc:"Answer with a fixed response instead of a service."`
	Host        string             `yaml:"host" doc:"Host field sent to the service: preserve for the client's, or a fixed name; the endpoint's own by default."`
	Path        PathOptions        `yaml:"path" doc:"What a path of this route may hold."`
	Trailers    setting.StringList `yaml:"trailers" doc:"Trailer fields that are passed on to the service."`
	Limits      RouteLimits        `yaml:"limits" doc:"Limits of this route, in place of those of the whole gateway."`
	// Timeouts and Retry are the service's with the route's over them; nil without a
	// service. What holds for those of Split and Pin stands there.
	Timeouts *Timeouts   `yaml:"timeouts" doc:"Timeouts of this route, in place of the service's."`
	Retry    *RouteRetry `yaml:"retry" doc:"Retries of this route, in place of the service's; off for never."`
	// Plugins are the merged options of each plugin that is on, undecoded.
	Plugins map[string]*setting.Node `yaml:"plugins" doc:"Plugins of this route with their options; off takes one out."`
}

// Match says which requests a route takes.
type Match struct {
	Path      string               `yaml:"path" doc:"One path pattern: /a, /a/{id}, /a/{n:[0-9]+}, /a/{rest...}."`
	Paths     setting.StringList   `yaml:"paths" doc:"Several path patterns."`
	Hosts     setting.StringList   `yaml:"hosts" doc:"api.example.com, *.example.com or {tenant}.example.com."`
	Methods   setting.StringList   `yaml:"methods" doc:"Methods; GET includes HEAD."`
	Listeners setting.StringList   `yaml:"listeners" doc:"Names of listeners."`
	Headers   map[string]Condition `yaml:"headers" doc:"Conditions on header fields."`
	Query     map[string]Condition `yaml:"query" doc:"Conditions on query values, compared decoded."`
}

// Redirect is an answer that sends the client elsewhere.
type Redirect struct {
	To     string `yaml:"to" doc:"A path or an http(s) URL, with {names} of the path; keeps the query unless it has one."`
	Status int    `yaml:"status" default:"302" enum:"301|302|303|307|308" doc:"Status of the redirect."`
}

// Respond is a fixed answer.
type Respond struct {
	Status      int    `yaml:"status" default:"200" min:"200" max:"599" doc:"Status of the answer."`
	Body        string `yaml:"body" doc:"Body of the answer."`
	ContentType string `yaml:"content_type" default:"text/plain; charset=utf-8" doc:"Media type of the body."`
}

// PathOptions says what a path may hold.
type PathOptions struct {
	EncodedSlashes string `yaml:"encoded_slashes" default:"refuse" enum:"refuse|allow" doc:"What happens to %2F in a path."`
	DoubleSlashes  string `yaml:"double_slashes" default:"merge" enum:"merge|keep" doc:"What happens to // in a path."`
}

// RouteLimits are the limits that a route may override; always filled in.
type RouteLimits struct {
	// Body is in bytes, or setting.Unlimited.
	Body   setting.Size `yaml:"body" default:"10MiB" unlimited:"true" doc:"Bytes of a request body, or unlimited."`
	Buffer setting.Size `yaml:"buffer" default:"64KiB" max:"64MiB" doc:"Bodies up to this are buffered and may be retried; larger ones stream."`
}

// RouteRetry is Retry with what only a route can say.
type RouteRetry struct {
	IdempotencyKey bool `yaml:"idempotency_key" default:"false" doc:"The service honours Idempotency-Key, so a POST or PATCH that carries one may be retried."`
	Retry          `yaml:",inline"`
}

// Telemetry is what the gateway tells about itself.
type Telemetry struct {
	Log     Log     `yaml:"log" doc:"The gateway's own log; requests are logged by plugins."`
	Metrics Metrics `yaml:"metrics" doc:"What metrics tell."`
}

// Metrics is what metrics tell beside what they count.
type Metrics struct {
	Identities int `yaml:"identities" default:"100" min:"0" max:"10000" doc:"Distinct callers (user and client ids) that labels name; further ones are counted as other, and with 0 all."`
}

// Log is the gateway's own log.
type Log struct {
	Level  string `yaml:"level" default:"info" enum:"trace|debug|info|warn|error" doc:"The least severe level that is written."`
	Format string `yaml:"format" default:"json" enum:"json|text" doc:"json: one object a line; text: for people."`
}

// AllPaths returns the patterns of path and paths.
func (m *Match) AllPaths() []string {
	if m.Path == "" {
		return m.Paths
	}
	return append([]string{m.Path}, m.Paths...)
}
