// Package cors is the plugin cors: it says which pages of other origins may call a
// route, and read its answers (SPEC PL8, SECURITY C14).
//
// Guard answers preflights, before anybody is asked for a credential. Response puts
// the fields on every other answer, faults included, and takes those of the service
// away, from interim answers too: two policies on one answer are none. All that is written was compiled with
// the route; an origin is found by its bytes, and its bytes are those of the list.
package cors

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
)

// Plugin is cors.
var Plugin = plugin.Of("cors", check, build)

// policy is what one route allows. It is immutable.
type policy struct {
	every   bool              // "*": any origin, and requests without one
	origins map[string][]byte // as the Origin field has it → the same, to be sent
	methods map[string]bool
	headers map[string]bool // in lower case

	// Values of fields; nil: the field is not sent.
	credentials, allowMethods, allowHeaders, expose, maximumAge []byte

	preflights struct{ allowed, origin, method, headers *meter.Counter }
	requests   struct{ allowed, refused *meter.Counter }
}

func build(o options, d *plugin.Deps) (pipeline.Instance, error) {
	p := &policy{origins: map[string][]byte{}, methods: map[string]bool{}, headers: map[string]bool{}}
	for _, entry := range o.Origins {
		p.every = p.every || entry == anyOrigin
		p.origins[string(entry)] = []byte(entry)
	}
	for _, m := range o.Methods {
		p.methods[string(m)] = true
		p.methods["HEAD"] = p.methods["HEAD"] || m == "GET"
	}
	for _, name := range o.Headers {
		p.headers[strings.ToLower(string(name))] = true
	}
	p.allowMethods, p.allowHeaders, p.expose = joined(o.Methods), joined(o.Headers), joined(o.Expose)
	if o.Credentials {
		p.credentials = []byte("true")
	}
	p.maximumAge = strconv.AppendInt(nil, int64(time.Duration(o.MaximumAge)/time.Second), 10)
	p.count(d.Meter)
	instance := pipeline.Instance{Preflights: true, Interim: strip}
	instance.Hooks[pipeline.Guard] = p.preflight
	instance.Hooks[pipeline.Response] = p.answer
	return instance, nil
}

// joined returns the value of a list field, nil for an empty list.
func joined[S ~string](list []S) (value []byte) {
	for _, entry := range list {
		if value != nil {
			value = append(value, ", "...)
		}
		value = append(value, entry...)
	}
	return value
}

// count makes the metrics. Routes are no label: gateway_requests_total has them.
func (p *policy) count(s *meter.Set) {
	preflights := func(result string) *meter.Counter {
		return s.Counter("gateway_cors_preflights_total", "CORS preflights, by what they were refused for.", meter.Label{Name: "result", Value: result})
	}
	requests := func(result string) *meter.Counter {
		return s.Counter("gateway_cors_requests_total", "Requests with an Origin that are no preflights, by whether its pages may read the answer.", meter.Label{Name: "result", Value: result})
	}
	p.preflights.allowed, p.preflights.origin = preflights("allowed"), preflights("origin")
	p.preflights.method, p.preflights.headers = preflights("method"), preflights("headers")
	p.requests.allowed, p.requests.refused = requests("allowed"), requests("refused")
}

// The fields that are written, as fasthttp spells them.
var (
	allowOriginName      = []byte(fasthttp.HeaderAccessControlAllowOrigin)
	allowCredentialsName = []byte(fasthttp.HeaderAccessControlAllowCredentials)
	allowMethodsName     = []byte(fasthttp.HeaderAccessControlAllowMethods)
	allowHeadersName     = []byte(fasthttp.HeaderAccessControlAllowHeaders)
	exposeName           = []byte(fasthttp.HeaderAccessControlExposeHeaders)
	maximumAgeName       = []byte(fasthttp.HeaderAccessControlMaxAge)
	asterisk             = []byte(anyOrigin)
)

// The faults of preflights. Browsers take any status beyond 2xx for a refusal, even
// if something on the way adds fields; their consoles show the detail to developers.
var (
	wrongOrigin  = fault.Forbidden.Detail("CORS: the origin is not allowed")
	wrongMethod  = fault.Forbidden.Detail("CORS: the method is not allowed")
	wrongHeaders = fault.Forbidden.Detail("CORS: a request header field is not allowed")
)

// preflight is the Guard hook. A preflight of another route passes: that it may be
// sent here as well says nothing about the request that it asks for.
func (p *policy) preflight(x *pipeline.Exchange) pipeline.Verdict {
	if !x.Preflight {
		if x.WebSocket {
			x.TrustedOrigin = p.trusts(&x.Request.Header)
		}
		return pipeline.Continue
	}
	request := &x.Request.Header
	allowed := p.allowed(request)
	switch {
	case allowed == nil:
		p.preflights.origin.Add(x.Stripe, 1)
		return x.Fail(wrongOrigin)
	case !p.methods[string(x.AskedMethod())]:
		p.preflights.method.Add(x.Stripe, 1)
		return x.Fail(wrongMethod)
	case !p.takes(request.PeekAll(fasthttp.HeaderAccessControlRequestHeaders)):
		p.preflights.headers.Add(x.Stripe, 1)
		return x.Fail(wrongHeaders)
	}
	p.preflights.allowed.Add(x.Stripe, 1)
	h := &x.Response.Header
	p.allow(h, allowed)
	h.SetCanonical(allowMethodsName, p.allowMethods)
	set(h, allowHeadersName, p.allowHeaders)
	h.SetCanonical(maximumAgeName, p.maximumAge)
	h.SetStatusCode(fasthttp.StatusNoContent)
	return pipeline.Respond
}

// answer is the Response hook. What preflights are granted is on the answer by now,
// or it is nothing.
func (p *policy) answer(x *pipeline.Exchange) pipeline.Verdict {
	h, request := &x.Response.Header, &x.Request.Header
	if x.FromService {
		strip(h)
	}
	if !request.IsOptions() {
		addVary(h, varyOrigin)
	} else if addVary(h, varyPreflight); len(request.Peek(pipeline.HeaderRequestMethod)) > 0 {
		return pipeline.Continue
	}
	allowed := p.allowed(request)
	if len(request.Peek(pipeline.HeaderOrigin)) > 0 {
		result := p.requests.refused
		if allowed != nil {
			result = p.requests.allowed
		}
		result.Add(x.Stripe, 1)
	}
	if allowed != nil {
		p.allow(h, allowed)
		set(h, exposeName, p.expose)
	}
	return pipeline.Continue
}

// allowed returns what Access-Control-Allow-Origin says to a request, nil for
// nothing. Of two Origin lines nobody knows which one a browser would mean.
func (p *policy) allowed(h *fasthttp.RequestHeader) []byte {
	if p.every {
		return asterisk
	}
	if lines := h.PeekAll(pipeline.HeaderOrigin); len(lines) == 1 {
		return p.origins[string(lines[0])]
	}
	return nil
}

// trusts says whether pages of the request's origin may do more than read what is for
// everybody. A WebSocket has no preflight, and always has its visitor's cookies.
func (p *policy) trusts(h *fasthttp.RequestHeader) bool {
	return p.credentials != nil && !p.every && p.allowed(h) != nil
}

// allow writes what preflights and other answers have in common.
func (p *policy) allow(h *fasthttp.ResponseHeader, origin []byte) {
	h.SetCanonical(allowOriginName, origin)
	set(h, allowCredentialsName, p.credentials)
}

// set sets a field that has a value.
func set(h *fasthttp.ResponseHeader, name, value []byte) {
	if value != nil {
		h.SetCanonical(name, value)
	}
}

// takes says whether every field that the lines name is in the list. Names are
// compared without case; lines may have been split on the way (RFC 9110 §5.3).
func (p *policy) takes(lines [][]byte) bool {
	for _, line := range lines {
		for more := true; more; {
			var name []byte
			name, line, more = bytes.Cut(line, comma)
			if name = bytes.Trim(name, " \t"); len(name) > 0 && !p.listed(name) {
				return false
			}
		}
	}
	return true
}

func (p *policy) listed(name []byte) bool {
	var room [longestToken]byte
	if len(name) > len(room) {
		return false
	}
	lower := room[:copy(room[:], name)]
	for i, c := range lower {
		if c >= 'A' && c <= 'Z' {
			lower[i] = c | 0x20
		}
	}
	return p.headers[string(lower)]
}
