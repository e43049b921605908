package proxy

import (
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/wire"
)

var (
	authorizationName = []byte("Authorization")
	apiKeyName        = []byte("X-Api-Key") // as fasthttp spells it
)

// Withhold takes from a request what its caller was known by, on every route
// (SECURITY I14, I15): API keys, the field that tokens are bound to, and the
// Authorization that was believed. One that nobody here has looked at is the
// service's own affair. It runs between the last look at the caller and the first
// hook that may give a request credentials for its service.
func Withhold(x *pipeline.Exchange) {
	h := &x.Request.Header
	for _, name := range x.Route.Withheld {
		h.DelBytes(name)
	}
	names := x.Head.Names
	if x.KeepCredentials || !names.Has(wire.NameAuthorization|wire.NameAPIKey) {
		return
	}
	if names.Has(wire.NameAPIKey) {
		h.DelBytes(apiKeyName)
	}
	if x.Principal != nil && names.Has(wire.NameAuthorization) {
		h.DelBytes(authorizationName)
	}
}

// appendCaller appends who calls (SPEC ID9): three fields, or the one token that
// vouches for them. What the caller itself has sent under these names is gone since
// Sanitize (SECURITY C3).
func (t *trip) appendCaller(dst []byte) []byte {
	p := t.x.Principal
	switch {
	case p == nil:
		return dst
	case t.x.Voucher != "":
		return appendField(dst, "X-Gateway-Token: ", t.x.Voucher)
	}
	dst = appendField(dst, "X-User-ID: ", p.User)
	dst = appendField(dst, "X-Client-ID: ", p.Client)
	return appendField(dst, "X-Scopes: ", p.Scopes.String())
}

// appendField appends a field, unless there is nothing to say.
func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, name...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}
