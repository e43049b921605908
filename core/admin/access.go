package admin

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"mime"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/setting"
)

// Token lets whoever holds it use the API. The token itself is not kept.
type Token struct {
	Name   string // what the audit log calls the holder
	Write  bool   // may change and profile, not only look
	digest [sha256.Size]byte
}

// NewToken returns the token of that name.
func NewToken(name string, write bool, secret setting.Secret) Token {
	return Token{Name: name, Write: write, digest: sha256.Sum256([]byte(secret.Reveal()))}
}

// Tokens returns the tokens that a configuration names.
func Tokens(a config.Admin) []Token {
	out := make([]Token, len(a.Tokens))
	for i, t := range a.Tokens {
		out[i] = NewToken(t.Name, t.Role == config.RoleWrite, t.Token)
	}
	return out
}

// call is one request to the API.
type call struct {
	*fasthttp.RequestCtx
	who     string // name of the token; nobody until it was told
	outcome string // for the audit log, where the status alone says too little
}

// nobody stands in the audit log for a caller without a valid token. No token
// can have this name.
const nobody = "-"

// endpoint is one method and path of the API.
type endpoint struct {
	method, path string
	write        bool // a token that only reads is not enough
	serve        func(*Server, *call) fault.Fault
}

// protect stands before an endpoint of the API: nothing of it runs for a caller
// without a token. What changes something is written to the audit log, refused
// or not.
func (s *Server) protect(e endpoint) fasthttp.RequestHandler {
	changes := e.method != fasthttp.MethodGet
	return func(ctx *fasthttp.RequestCtx) {
		c := &call{RequestCtx: ctx, who: nobody}
		if changes {
			defer s.audit(c, e)
		}
		f := s.admit(c, e.write)
		if f.IsZero() && changes && !isJSON(ctx.Request.Header.ContentType()) {
			f = fault.UnsupportedMediaType.Detail("want Content-Type: application/json")
		}
		if f.IsZero() {
			f = e.serve(s, c)
		}
		if !f.IsZero() {
			c.outcome = f.Code()
			fail(ctx, f)
		}
	}
}

// admit finds out who calls, and whether that is enough.
func (s *Server) admit(c *call, write bool) fault.Fault {
	tokens := s.live.Load().tokens
	if len(tokens) == 0 {
		return fault.Forbidden.Detail("no token is configured: name one in admin.tokens, or set `directory` to a folder that the gateway can write to, and restart it")
	}
	presented := c.Request.Header.PeekAll(fasthttp.HeaderAuthorization)
	if len(presented) == 0 {
		return fault.Unauthenticated.Detail("want Authorization: Bearer with a token of admin.tokens, or the one in admin.token of `directory`")
	}
	token, found := find(tokens, presented)
	switch {
	case !found:
		return fault.TokenInvalid
	case write && !token.Write:
		c.who = token.Name
		return fault.InsufficientScope.Detail("this token may only read")
	}
	c.who = token.Name
	return fault.Fault{}
}

// find returns the token that was presented. Digests are compared, all of them
// and each in constant time, so that time tells nothing of how near a guess is.
// Two fields are none: two hops could take each a different one (SECURITY I15).
func find(tokens []Token, presented [][]byte) (found Token, ok bool) {
	scheme, secret, _ := bytes.Cut(presented[0], []byte(" "))
	digest := sha256.Sum256(bytes.TrimLeft(secret, " "))
	for _, t := range tokens {
		if subtle.ConstantTimeCompare(t.digest[:], digest[:]) == 1 {
			found, ok = t, true
		}
	}
	return found, ok && len(presented) == 1 && strings.EqualFold(string(scheme), "Bearer")
}

// isJSON says whether a body is declared as JSON. A page of another site can't
// send that without asking first (SECURITY C8).
func isJSON(contentType []byte) bool {
	media, parameters, err := mime.ParseMediaType(string(contentType))
	if err != nil || media != "application/json" {
		return false
	}
	charset, given := parameters["charset"]
	return len(parameters) == 0 || len(parameters) == 1 && given && strings.EqualFold(charset, "utf-8")
}

// audit writes down who asked for which change, and what came of it. The line
// has no level of its own that telemetry.log.level could silence.
func (s *Server) audit(c *call, e endpoint) {
	outcome := c.outcome
	if outcome == "" {
		outcome = fault.Internal.Code() // it panicked
	}
	s.options.Log.Log().Str("level", "info").Str("who", c.who).Str("what", e.method+" "+e.path).
		Str("from", c.RemoteAddr().String()).Str("outcome", outcome).
		Bytes("correlation_id", correlationID(c.RequestCtx)).Msg("audit")
}
