package fault

import (
	"net/http"
	"time"
)

// typePrefix is what every `type` member begins with; the code follows. The
// pages behind these addresses are the documentation of the codes.
const typePrefix = "https://suuupra.dev/faults/"

// Fault is one answer of the gateway's own. The zero value means that there is
// none. Values are comparable and may be copied and shared freely; errors.Is
// compares them by code alone.
type Fault struct {
	code   code
	after  time.Duration
	detail string
	status int    // in place of the table's; 0: that
	more   string // further members of the body, as they stand there, each with a comma before it
}

// Every code of the table. The status and the title are in the table below.
var (
	BadRequest           = Fault{code: badRequest}           // 400 bad_request
	Unauthenticated      = Fault{code: unauthenticated}      // 401 unauthenticated: no credential where one is needed
	TokenExpired         = Fault{code: tokenExpired}         // 401 token_expired
	TokenRevoked         = Fault{code: tokenRevoked}         // 401 token_revoked
	TokenInvalid         = Fault{code: tokenInvalid}         // 401 token_invalid
	TokenUnbound         = Fault{code: tokenUnbound}         // 401 token_unbound: presented without what it is bound to
	RefreshExpired       = Fault{code: refreshExpired}       // 401 refresh_expired
	RefreshReused        = Fault{code: refreshReused}        // 401 refresh_reused
	SessionRevoked       = Fault{code: sessionRevoked}       // 401 session_revoked
	InvalidCredentials   = Fault{code: invalidCredentials}   // 401 invalid_credentials
	MFARequired          = Fault{code: mfaRequired}          // 401 mfa_required
	InsufficientScope    = Fault{code: insufficientScope}    // 403 insufficient_scope
	Forbidden            = Fault{code: forbidden}            // 403 forbidden
	NoRoute              = Fault{code: noRoute}              // 404 no_route: nothing in the route table matches
	NotFound             = Fault{code: notFound}             // 404 not_found
	MethodNotAllowed     = Fault{code: methodNotAllowed}     // 405 method_not_allowed; the caller of Write sets Allow
	NotAcceptable        = Fault{code: notAcceptable}        // 406 not_acceptable
	RequestTimeout       = Fault{code: requestTimeout}       // 408 request_timeout: the client was too slow
	IdempotencyConflict  = Fault{code: idempotencyConflict}  // 409 idempotency_conflict
	BodyTooLarge         = Fault{code: bodyTooLarge}         // 413 body_too_large
	URITooLong           = Fault{code: uriTooLong}           // 414 uri_too_long
	UnsupportedMediaType = Fault{code: unsupportedMediaType} // 415 unsupported_media_type
	ExpectationFailed    = Fault{code: expectationFailed}    // 417 expectation_failed
	Misdirected          = Fault{code: misdirected}          // 421 misdirected
	ValidationFailed     = Fault{code: validationFailed}     // 422 validation_failed
	UpgradeRequired      = Fault{code: upgradeRequired}      // 426 upgrade_required; the caller of Write says to what
	RateLimited          = Fault{code: rateLimited}          // 429 rate_limited
	TooManyConnections   = Fault{code: tooManyConnections}   // 429 too_many_connections: of one client address
	HeadersTooLarge      = Fault{code: headersTooLarge}      // 431 headers_too_large
	Internal             = Fault{code: internal}             // 500 internal
	NotImplemented       = Fault{code: notImplemented}       // 501 not_implemented
	BadGateway           = Fault{code: badGateway}           // 502 bad_gateway: the endpoint failed or made no sense
	NoHealthyEndpoint    = Fault{code: noHealthyEndpoint}    // 503 no_healthy_endpoint
	CircuitOpen          = Fault{code: circuitOpen}          // 503 circuit_open
	Overloaded           = Fault{code: overloaded}           // 503 overloaded: the gateway or a service is full
	Maintenance          = Fault{code: maintenance}          // 503 maintenance
	StoreUnavailable     = Fault{code: storeUnavailable}     // 503 store_unavailable
	Draining             = Fault{code: draining}             // 503 draining: the gateway is going away
	UpstreamTimeout      = Fault{code: upstreamTimeout}      // 504 upstream_timeout
)

// code is the index of a fault's line in the table.
type code uint8

const (
	none code = iota
	badRequest
	unauthenticated
	tokenExpired
	tokenRevoked
	tokenInvalid
	tokenUnbound
	refreshExpired
	refreshReused
	sessionRevoked
	invalidCredentials
	mfaRequired
	insufficientScope
	forbidden
	noRoute
	notFound
	methodNotAllowed
	notAcceptable
	requestTimeout
	idempotencyConflict
	bodyTooLarge
	uriTooLong
	unsupportedMediaType
	expectationFailed
	misdirected
	validationFailed
	upgradeRequired
	rateLimited
	tooManyConnections
	headersTooLarge
	internal
	notImplemented
	badGateway
	noHealthyEndpoint
	circuitOpen
	overloaded
	maintenance
	storeUnavailable
	draining
	upstreamTimeout
	codes // how many there are, none included
)

// The WWW-Authenticate values of a 401 (RFC 6750 §3): the error parameter
// belongs only to answers about an access token that was presented.
var (
	askBearer    = []byte("Bearer")
	invalidToken = []byte(`Bearer error="invalid_token"`)
)

// line is one row of the table.
type line struct {
	code      string
	status    int
	title     string
	after     time.Duration // what Retry-After says where the fault itself names no time; 0: no such field
	challenge []byte        // WWW-Authenticate; nil: no such field
}

// table is written once, here. 429 and 503 always name a time to wait.
var table = [codes]line{
	badRequest:           {code: "bad_request", status: http.StatusBadRequest, title: "Bad request"},
	unauthenticated:      {code: "unauthenticated", status: http.StatusUnauthorized, title: "Authentication required", challenge: askBearer},
	tokenExpired:         {code: "token_expired", status: http.StatusUnauthorized, title: "Token expired", challenge: invalidToken},
	tokenRevoked:         {code: "token_revoked", status: http.StatusUnauthorized, title: "Token revoked", challenge: invalidToken},
	tokenInvalid:         {code: "token_invalid", status: http.StatusUnauthorized, title: "Token invalid", challenge: invalidToken},
	tokenUnbound:         {code: "token_unbound", status: http.StatusUnauthorized, title: "Token not bound to this caller", challenge: invalidToken},
	refreshExpired:       {code: "refresh_expired", status: http.StatusUnauthorized, title: "Refresh token expired", challenge: askBearer},
	refreshReused:        {code: "refresh_reused", status: http.StatusUnauthorized, title: "Refresh token already used", challenge: askBearer},
	sessionRevoked:       {code: "session_revoked", status: http.StatusUnauthorized, title: "Session revoked", challenge: invalidToken},
	invalidCredentials:   {code: "invalid_credentials", status: http.StatusUnauthorized, title: "Invalid credentials", challenge: askBearer},
	mfaRequired:          {code: "mfa_required", status: http.StatusUnauthorized, title: "Multi-factor authentication required", challenge: askBearer},
	insufficientScope:    {code: "insufficient_scope", status: http.StatusForbidden, title: "Insufficient scope"},
	forbidden:            {code: "forbidden", status: http.StatusForbidden, title: "Forbidden"},
	noRoute:              {code: "no_route", status: http.StatusNotFound, title: "No such route"},
	notFound:             {code: "not_found", status: http.StatusNotFound, title: "Not found"},
	methodNotAllowed:     {code: "method_not_allowed", status: http.StatusMethodNotAllowed, title: "Method not allowed"},
	notAcceptable:        {code: "not_acceptable", status: http.StatusNotAcceptable, title: "Not acceptable"},
	requestTimeout:       {code: "request_timeout", status: http.StatusRequestTimeout, title: "Request timeout"},
	idempotencyConflict:  {code: "idempotency_conflict", status: http.StatusConflict, title: "Idempotency conflict"},
	bodyTooLarge:         {code: "body_too_large", status: http.StatusRequestEntityTooLarge, title: "Request body too large"},
	uriTooLong:           {code: "uri_too_long", status: http.StatusRequestURITooLong, title: "Request target too long"},
	unsupportedMediaType: {code: "unsupported_media_type", status: http.StatusUnsupportedMediaType, title: "Unsupported media type"},
	expectationFailed:    {code: "expectation_failed", status: http.StatusExpectationFailed, title: "Expectation failed"},
	misdirected:          {code: "misdirected", status: http.StatusMisdirectedRequest, title: "Misdirected request"},
	validationFailed:     {code: "validation_failed", status: http.StatusUnprocessableEntity, title: "Validation failed"},
	upgradeRequired:      {code: "upgrade_required", status: http.StatusUpgradeRequired, title: "Upgrade required"},
	rateLimited:          {code: "rate_limited", status: http.StatusTooManyRequests, title: "Rate limit exceeded", after: time.Second},
	tooManyConnections:   {code: "too_many_connections", status: http.StatusTooManyRequests, title: "Too many connections", after: time.Second},
	headersTooLarge:      {code: "headers_too_large", status: http.StatusRequestHeaderFieldsTooLarge, title: "Request header fields too large"},
	internal:             {code: "internal", status: http.StatusInternalServerError, title: "Internal error"},
	notImplemented:       {code: "not_implemented", status: http.StatusNotImplemented, title: "Not implemented"},
	badGateway:           {code: "bad_gateway", status: http.StatusBadGateway, title: "Bad gateway"},
	noHealthyEndpoint:    {code: "no_healthy_endpoint", status: http.StatusServiceUnavailable, title: "No healthy endpoint", after: time.Second},
	circuitOpen:          {code: "circuit_open", status: http.StatusServiceUnavailable, title: "Circuit breaker open", after: time.Second},
	overloaded:           {code: "overloaded", status: http.StatusServiceUnavailable, title: "Overloaded", after: time.Second},
	maintenance:          {code: "maintenance", status: http.StatusServiceUnavailable, title: "Under maintenance", after: time.Minute},
	storeUnavailable:     {code: "store_unavailable", status: http.StatusServiceUnavailable, title: "Store unavailable", after: time.Second},
	draining:             {code: "draining", status: http.StatusServiceUnavailable, title: "Shutting down", after: time.Second},
	upstreamTimeout:      {code: "upstream_timeout", status: http.StatusGatewayTimeout, title: "Upstream timeout"},
}

// Table lists every fault once, in the order of the documentation (by status).
// The slice is the caller's.
func Table() []Fault {
	all := make([]Fault, 0, codes-1)
	for c := none + 1; c < codes; c++ {
		all = append(all, Fault{code: c})
	}
	return all
}

// Detail returns f with a sentence about this one occurrence, meant for the
// caller. The empty string takes it away.
func (f Fault) Detail(s string) Fault {
	f.detail = s
	return f
}

// After returns f with the time that the caller should wait before the next
// try. Zero or less means the fault's own default.
func (f Fault) After(d time.Duration) Fault {
	f.after = max(d, 0)
	return f
}

// Problem is one thing that is wrong with what a caller has sent.
type Problem struct {
	Pointer string // JSON Pointer (RFC 6901) to it; empty: the whole document
	Message string
}

// Problems returns f with the member "errors" (SPEC F2). The order stays.
func (f Fault) Problems(problems ...Problem) Fault {
	more := append([]byte(f.more), `,"errors":[`...)
	for i, p := range problems {
		if i > 0 {
			more = append(more, ',')
		}
		more = appendString(append(more, `{"pointer":`...), p.Pointer)
		more = append(appendString(append(more, `,"message":`...), p.Message), '}')
	}
	f.more = string(append(more, ']'))
	return f
}

// With returns f with one further member, whose name must be a plain word that is
// none of F1's. Unlike a detail its value is for the caller alone: no log and no
// error text shows it.
func (f Fault) With(name, value string) Fault {
	more := append(append(append([]byte(f.more), `,"`...), name...), `":`...)
	f.more = string(appendString(more, value))
	return f
}

// IsZero reports whether f is no fault at all.
func (f Fault) IsZero() bool { return f.code == none }

// WithStatus returns f with another status, which must be one of 400 to 599: an operator may
// want a fault to look otherwise to clients that don't read bodies. 0 is the table's.
func (f Fault) WithStatus(status int) Fault {
	f.status = status
	return f
}

// Status is the HTTP status code, 0 for the zero Fault.
func (f Fault) Status() int {
	if f.status != 0 {
		return f.status
	}
	return table[f.code].status
}

// Code is the stable name that programs compare, "" for the zero Fault.
func (f Fault) Code() string { return table[f.code].code }

// Title is the short human text, the same for every occurrence of a code.
func (f Fault) Title() string { return table[f.code].title }

// Type is the URI of the code's documentation (RFC 9457 §3.1.1), "" for the
// zero Fault.
func (f Fault) Type() string {
	if f.IsZero() {
		return ""
	}
	return typePrefix + f.Code()
}

// RetryAfter is what the Retry-After field will say, always in whole seconds
// rounded up. 0 means that there is no such field.
func (f Fault) RetryAfter() time.Duration {
	d := f.after
	if d == 0 {
		d = table[f.code].after
	}
	return time.Duration(wholeSeconds(d)) * time.Second
}

// wholeSeconds rounds up, because a caller that comes back too early is refused
// again.
func wholeSeconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d%time.Second > 0 {
		s++
	}
	return s
}

// Error is the code, the title and the detail, for logs and for wrapping.
func (f Fault) Error() string {
	if f.IsZero() {
		return "no fault"
	}
	s := f.Code() + ": " + f.Title()
	if f.detail != "" {
		s += ": " + f.detail
	}
	return s
}

// Is makes errors.Is(err, fault.RateLimited) true for every occurrence of the
// code, whatever its detail and time.
func (f Fault) Is(target error) bool {
	t, ok := target.(Fault)
	return ok && t.code == f.code
}
