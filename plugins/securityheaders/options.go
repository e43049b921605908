package securityheaders

import (
	"fmt"
	"strings"
	"time"

	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/wire"
)

// options are the options of security_headers. What is off is the zero value.
type options struct {
	CSP         string `yaml:"csp" default:"auto" off:"true" doc:"Content-Security-Policy; auto: a policy that no page breaks on, with the frame-ancestors that frame asks for."`
	HSTS        hsts   `yaml:"hsts" doc:"Strict-Transport-Security, on TLS only."`
	Nosniff     bool   `yaml:"nosniff" default:"true" doc:"X-Content-Type-Options: nosniff."`
	Frame       string `yaml:"frame" default:"deny" off:"true" enum:"deny|sameorigin" doc:"X-Frame-Options: who may show the page in a frame."`
	Referrer    string `yaml:"referrer" default:"strict-origin-when-cross-origin" off:"true" enum:"no-referrer|no-referrer-when-downgrade|origin|origin-when-cross-origin|same-origin|strict-origin|strict-origin-when-cross-origin|unsafe-url" doc:"Referrer-Policy."`
	Permissions string `yaml:"permissions" default:"camera=(self), geolocation=(self), microphone=(self)" off:"true" doc:"Permissions-Policy."`
}

// hsts says for how long, and for what, a browser insists on TLS.
type hsts struct {
	MaximumAge        setting.Duration `yaml:"maximum_age" default:"8760h" max:"87600h" doc:"How long a browser insists on TLS after each answer; 0s makes it forget."`
	IncludeSubdomains bool             `yaml:"include_subdomains" default:"false" doc:"Whether subdomains are meant as well."`
	Preload           bool             `yaml:"preload" default:"false" doc:"Asks for a place on the list that browsers ship with; hard to undo."`

	off bool
}

// Disable is called for `hsts: off`.
func (h *hsts) Disable() { h.off = true }

var _ setting.Disabler = (*hsts)(nil)

// preloadAge is what the preload list asks for at least.
const preloadAge = 365 * 24 * time.Hour

// check reports what the types alone can't say.
func check(o options, r *setting.Report) {
	for _, field := range []struct{ name, value string }{{"csp", o.CSP}, {"permissions", o.Permissions}} {
		if !wire.ValidFieldValue([]byte(field.value)) || strings.Trim(field.value, " \t") != field.value {
			r.AddField(field.name, fmt.Sprintf("want the value of a header field on one line, got %q", field.value), "")
		}
	}
	if o.HSTS.off || !o.HSTS.Preload {
		return
	}
	if !o.HSTS.IncludeSubdomains {
		r.AddField("hsts.preload", "the preload list takes no domain without its subdomains; set include_subdomains: true", "")
	}
	if time.Duration(o.HSTS.MaximumAge) < preloadAge {
		r.AddField("hsts.preload", "the preload list wants a maximum_age of 8760h at least", "")
	}
}
