package pipeline

import "github.com/valyala/fasthttp"

// The fields that make an OPTIONS request a preflight (Fetch standard, CORS-preflight fetch).
const (
	HeaderOrigin        = fasthttp.HeaderOrigin
	HeaderRequestMethod = fasthttp.HeaderAccessControlRequestMethod
)

// AskedMethod returns the method that a CORS preflight asks about, nil if the
// request is none. A browser sends one line of each field: where there are two, it
// can't be told what was asked, and the request is an OPTIONS like any other. The
// bytes are borrowed from the request.
func (x *Exchange) AskedMethod() []byte {
	h := &x.Request.Header
	if !h.IsOptions() || len(h.PeekAll(HeaderOrigin)) != 1 {
		return nil
	}
	asked := h.PeekAll(HeaderRequestMethod)
	if len(asked) != 1 || len(asked[0]) == 0 {
		return nil
	}
	return asked[0]
}
