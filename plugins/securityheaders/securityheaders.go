// Package securityheaders is the plugin security_headers: it tells browsers to
// be careful with an answer, wherever its service has not (SPEC PL8).
//
// All values are compiled to bytes when the route is; a request costs one look
// and one set for each field.
package securityheaders

import (
	"strconv"
	"time"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
)

// Plugin is security_headers.
var Plugin = plugin.Of("security_headers", check, build)

// field is one header field, ready to be set.
type field struct {
	name, value []byte
}

// fields are what one route sets. They are never written.
type fields struct {
	always []field
	secure []field // on TLS alone: RFC 6797 §7.2 forbids the field elsewhere
}

func build(o options, _ *plugin.Deps) (pipeline.Instance, error) {
	f := &fields{}
	add := func(to *[]field, name, value string) {
		if value != "" {
			*to = append(*to, field{[]byte(name), []byte(value)})
		}
	}
	if o.Nosniff {
		add(&f.always, "X-Content-Type-Options", "nosniff")
	}
	add(&f.always, "Content-Security-Policy", policy(o))
	add(&f.always, "X-Frame-Options", frameOptions[o.Frame])
	add(&f.always, "Referrer-Policy", o.Referrer)
	add(&f.always, "Permissions-Policy", o.Permissions)
	if !o.HSTS.off {
		add(&f.secure, "Strict-Transport-Security", o.HSTS.value())
	}
	var instance pipeline.Instance
	if len(f.always)+len(f.secure) > 0 {
		instance.Hooks[pipeline.Response] = f.set
	}
	return instance, nil
}

// frameOptions and ancestors say the same to old browsers and to new ones.
var (
	frameOptions = map[string]string{"deny": "DENY", "sameorigin": "SAMEORIGIN"}
	ancestors    = map[string]string{"deny": "; frame-ancestors 'none'", "sameorigin": "; frame-ancestors 'self'"}
)

// policy returns the Content-Security-Policy. Of its own the gateway forbids only
// what no well-made page needs: plugins of the browser, a base elsewhere, and the
// frames that the option frame forbids, which would win over X-Frame-Options.
func policy(o options) string {
	if o.CSP != "auto" {
		return o.CSP
	}
	return "base-uri 'self'; object-src 'none'" + ancestors[o.Frame]
}

// value returns the field's value, RFC 6797 §6.1.
func (h *hsts) value() string {
	value := "max-age=" + strconv.FormatInt(int64(time.Duration(h.MaximumAge)/time.Second), 10)
	if h.IncludeSubdomains {
		value += "; includeSubDomains"
	}
	if h.Preload {
		value += "; preload"
	}
	return value
}

// set is the Response hook. What the service has set stays: it knows its pages.
func (f *fields) set(x *pipeline.Exchange) pipeline.Verdict {
	setMissing(x, f.always)
	if x.Scheme == "https" {
		setMissing(x, f.secure)
	}
	return pipeline.Continue
}

func setMissing(x *pipeline.Exchange, fields []field) {
	h := &x.Response.Header
	for i := range fields {
		if len(h.PeekBytes(fields[i].name)) == 0 {
			h.SetCanonical(fields[i].name, fields[i].value)
		}
	}
}
