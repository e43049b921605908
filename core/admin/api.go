package admin

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/listen"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/tunnel"
)

// API is what callers with a token look at and change. All but Connections is
// required; all is called concurrently.
type API struct {
	Version string    // of the program
	Started time.Time // when the program was
	Now     func() time.Time
	// Snapshot returns the one in force.
	Snapshot func() *snapshot.Snapshot
	// Listeners returns the public listeners, and what bounds them together.
	Listeners   func() ([]*listen.Listener, *listen.Totals)
	Reloader    Reloader
	LogLevel    LogLevel
	Connections Connections
}

// Reloader reads the configuration anew.
type Reloader interface {
	// Reload puts what the files hold now in force, or leaves everything as it
	// was; trigger says who asked. It waits for a reload that is under way.
	Reload(trigger string) Outcome
	// InForce says which configuration is in force.
	InForce() InForce
}

// LogLevel is the least severe level that the gateway's own log writes.
type LogLevel interface {
	// Level returns its name.
	Level() string
	// SetLevel changes it until the next reload. The error says which names there
	// are.
	SetLevel(name string) error
}

// Connections are those that have left HTTP by an upgrade.
type Connections interface {
	// Len is how many there are.
	Len() int
	// List is what is known of them, the oldest first.
	List() []tunnel.Info
}

// TriggerAdmin is what Outcome.Trigger says of a reload that the API was asked for.
const TriggerAdmin = "admin"

//go:embed openapi.yaml
var openAPI []byte

// endpoints is the API. openapi.yaml describes it, and a test holds the two together.
func endpoints() []endpoint {
	const get, post = fasthttp.MethodGet, fasthttp.MethodPost
	return []endpoint{
		{get, "/admin/routes", false, (*Server).showRoutes},
		{get, "/admin/services", false, (*Server).showServices},
		{get, "/admin/snapshot", false, (*Server).showSnapshot},
		{get, "/admin/connections", false, (*Server).showConnections},
		{get, "/admin/status", false, (*Server).showStatus},
		{get, "/admin/openapi.yaml", false, (*Server).showOpenAPI},
		{get, "/admin/log-level", false, (*Server).showLogLevel},
		{post, "/admin/log-level", true, (*Server).setLogLevel},
		{post, "/admin/drain", true, (*Server).drain},
		{post, "/admin/undrain", true, (*Server).undrain},
		{post, "/admin/breaker", true, (*Server).forceBreaker},
		{post, "/admin/reload", true, (*Server).reload},
		{get, "/debug/pprof/{profile}", true, (*Server).profile},
	}
}

// show answers with v as JSON.
func show(c *call, v any) fault.Fault {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("BUG: writing %T: %v", v, err))
	}
	c.Response.Header.SetContentType("application/json")
	c.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	c.Response.SetBody(append(body, '\n'))
	return fault.Fault{}
}

func (s *Server) showRoutes(c *call) fault.Fault {
	return show(c, Routes(s.options.API.Snapshot()))
}

func (s *Server) showServices(c *call) fault.Fault {
	return show(c, services(s.options.API.Snapshot()))
}

func (s *Server) showSnapshot(c *call) fault.Fault { return show(c, s.inForce()) }

func (s *Server) showConnections(c *call) fault.Fault { return show(c, s.connections()) }

func (s *Server) showStatus(c *call) fault.Fault { return show(c, s.status()) }

func (s *Server) showOpenAPI(c *call) fault.Fault {
	c.Response.Header.SetContentType("application/yaml")
	c.Response.SetBody(openAPI)
	return fault.Fault{}
}

// inForce is InForce with the age that it has now.
func (s *Server) inForce() InForce {
	f := s.options.API.Reloader.InForce()
	f.AgeSeconds = int64(s.options.API.Now().Sub(f.LoadedAt) / time.Second)
	return f
}

// reload reads the configuration anew. What is refused is a fault that holds the
// outcome too (RFC 9457 §3.2): its members have the same names either way.
func (s *Server) reload(c *call) fault.Fault {
	if _, err := members(c.Request.Body()); err != nil {
		return fault.BadRequest.Detail(err.Error())
	}
	outcome := s.options.API.Reloader.Reload(TriggerAdmin)
	c.outcome = outcome.Result
	show(c, outcome)
	if outcome.Result == Applied {
		return fault.Fault{}
	}
	extension := append([]byte(","), c.Response.Body()[1:]...)
	fail(c.RequestCtx, fault.ValidationFailed.Detail("the configuration was refused; what was in force still is"))
	body := c.Response.Body()
	c.Response.SetBody(append(body[:len(body)-1:len(body)-1], extension...))
	return fault.Fault{}
}

// level is the body of /admin/log-level.
type level struct {
	Level string `json:"level"`
}

func (s *Server) showLogLevel(c *call) fault.Fault {
	return show(c, level{s.options.API.LogLevel.Level()})
}

func (s *Server) setLogLevel(c *call) fault.Fault {
	given, err := members(c.Request.Body(), "level")
	if err != nil {
		return fault.BadRequest.Detail(err.Error())
	}
	if err := s.options.API.LogLevel.SetLevel(given["level"]); err != nil {
		return fault.ValidationFailed.Detail(err.Error())
	}
	c.outcome = "level " + given["level"]
	return s.showLogLevel(c)
}

// members reads a JSON object of strings that has exactly the named members; an
// empty body counts as one without any. A member that stands twice is refused:
// readers differ about which one holds.
func members(body []byte, names ...string) (map[string]string, error) {
	want := fmt.Errorf("want a JSON object with %s, each a string", strings.Join(names, " and "))
	if len(names) == 0 {
		want = fmt.Errorf("want no body, or {}")
		if len(body) == 0 {
			return nil, nil
		}
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, want
	}
	out := make(map[string]string, len(names))
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, want
		}
		value, err := d.Token()
		text, isText := value.(string)
		if _, twice := out[name.(string)]; err != nil || !isText || twice {
			return nil, want
		}
		out[name.(string)] = text
	}
	if _, err := d.Token(); err != nil || d.More() || len(out) != len(names) {
		return nil, want
	}
	for _, name := range names {
		if _, given := out[name]; !given {
			return nil, want
		}
	}
	return out, nil
}
