package auth_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/token"
)

// world knows tokens, keys and tickets by their text, and writes down what it is asked.
// It stands in for packages that have tests of their own: here it matters what is made
// of their answers.
type world struct {
	tokens, tickets map[string]*token.Verified
	keys            map[string]*apikey.Key
	errs            map[string]error // by the text of the credential
	looks           atomic.Int64     // credentials that were looked at

	mu      sync.Mutex // guards all below
	revoked []string   // sessions, users and foreign keys
	age     time.Duration
	cold    bool
	used    []string
	signed  int
}

func (w *world) look(kind map[string]*token.Verified, raw []byte, unknown error) (*token.Verified, error) {
	w.looks.Add(1)
	if v := kind[string(raw)]; v != nil {
		return v, nil
	}
	if err := w.errs[string(raw)]; err != nil {
		return nil, fmt.Errorf("looking: %w", err)
	}
	return nil, unknown
}

func (w *world) Access(raw []byte) (*token.Verified, error) {
	return w.look(w.tokens, raw, token.ErrInvalid)
}

func (w *world) Redeem(ticket, path []byte) (*token.Verified, error) {
	if string(path) != "/ticket/a" {
		return nil, token.ErrInvalid
	}
	return w.look(w.tickets, ticket, token.ErrInvalid)
}

func (w *world) Check(raw []byte, from netip.Addr) (*apikey.Key, error) {
	w.looks.Add(1)
	k := w.keys[string(raw)]
	switch err := w.errs[string(raw)]; {
	case err != nil:
		return nil, fmt.Errorf("looking: %w", err)
	case k == nil:
		return nil, apikey.ErrUnknown
	case len(k.AllowFrom) > 0 && !k.AllowFrom[0].Contains(from):
		return nil, apikey.ErrAddress
	}
	return k, nil
}

func (w *world) Used(k *apikey.Key, use apikey.Use) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used = append(w.used, fmt.Sprintf("%s %s %d in %d out %d limited %v", k.KeyID(), use.Route, use.Status, use.In, use.Out, use.Limited))
}

func (w *world) uses() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.used)
}

func (w *world) Revoked(session, user string, _ int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.revoked, session) || slices.Contains(w.revoked, "user:"+user)
}

func (w *world) RevokedForeign(keys []string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(keys, func(key string) bool { return slices.Contains(w.revoked, key) })
}

func (w *world) State() (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.age, !w.cold
}

func (w *world) Internal(p *principal.Principal, service string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.User == "unsignable" {
		return "", errors.New("the key is away")
	}
	w.signed++
	return fmt.Sprintf("signed-%d-%s-%s-%s", w.signed, service, p.User, p.Client), nil
}

// change runs f while nobody is asking.
func (w *world) change(f func(w *world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

func scopesOf(list string) principal.Scopes {
	s, err := principal.NewScopes(strings.Fields(list))
	if err != nil {
		panic(err)
	}
	return s
}

// soon is when tokens of the world end.
var soon = time.Now().Add(time.Hour).Unix()

func verified(user, client, scopes string) *token.Verified {
	return &token.Verified{
		Principal: principal.Principal{User: user, Client: client, Session: "s-" + user, Scopes: scopesOf(scopes), Shown: principal.Token},
		ID:        "j", IssuedAt: soon - 3600, Expires: soon,
		Claims: map[string]any{"plan": "pro", "levels": []any{"a", 3.0}, "realm": map[string]any{"on": true}},
	}
}

func apiKey(id, user, client, scopes string) *apikey.Key {
	return &apikey.Key{Principal: principal.Principal{
		Key: id, User: user, Client: client, Policy: "premium", Scopes: scopesOf(scopes), Shown: principal.Key,
	}}
}

// fingerprint and its SHA-256 in base64url.
const (
	fingerprint = "0123456789abcdef0123456789abcdef"
	fingered    = "PrG9Q5lH63YpmOVmzMLgmceREYsvQFecxPfaK1Bht_k"
)

func newWorld() *world {
	w := &world{
		tokens: map[string]*token.Verified{
			"ann":   verified("ann", "app", "courses payments:read"),
			"bob":   verified("bob", "app", "vod"),
			"other": verified("ann", "other-app", "courses"),
			"every": verified("root", "app", "*"),
			"crlf":  verified("a\r\nX-Evil: 1", "app", "courses"),
			"mute":  verified("ann", "app", "courses"),
			"bound": verified("ann", "app", "courses"),
			"mtls":  verified("ann", "app", "courses"),
			"far":   verified("partner:eve", "partner-app", "courses"),
			"short": verified("unsignable", "app", "courses"),
		},
		tickets: map[string]*token.Verified{"t-ann": verified("ann", "app", "courses:read"), "t-bob": verified("bob", "app", "vod")},
		keys: map[string]*apikey.Key{
			"gk_client": apiKey("client", "", "app", "courses:read vod"),
			"gk_ann":    apiKey("ann-key", "ann", "app", "courses:read"),
			"gk_own":    apiKey("own", "ann", "", "courses:read"),
			"gk_bob":    apiKey("bob-key", "bob", "app", "courses"),
			"gk_away":   apiKey("away", "", "app", "courses"),
			"gk_other":  apiKey("other-key", "", "other-app", "courses"),
		},
		errs: map[string]error{
			"expired": token.ErrExpired, "unavailable": token.ErrUnavailable,
			"gk_malformed": apikey.ErrMalformed, "gk_inactive": apikey.ErrInactive, "gk_expired": apikey.ErrExpired, "gk_unavailable": apikey.ErrUnavailable,
		},
	}
	w.tokens["mute"].Claims = nil
	w.tokens["bound"].Fingerprint = fingered
	w.tokens["mtls"].Thumbprint = fingered
	w.tokens["far"].Principal.Issuer, w.tokens["far"].Principal.Session = "partner", ""
	w.tokens["far"].Foreign = []string{"ext:far"}
	w.keys["gk_away"].AllowFrom = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	w.tickets["t-ann"].Principal.Shown, w.tickets["t-bob"].Principal.Shown = principal.Ticket, principal.Ticket
	return w
}

func (w *world) identity() *plugin.Identity {
	return &plugin.Identity{
		Tokens: w, Revocations: w, Keys: w, Tickets: w, Vouchers: w,
		Issuers: []string{"partner"}, FingerprintHeader: "X-Client-Fingerprint",
	}
}

// gateway boots one with routes, before an origin that answers all alike.
func (w *world) gateway(t *testing.T, yaml string) (*gatewaytest.Gateway, *gatewaytest.Origin) {
	t.Helper()
	origin := gatewaytest.NewOrigin(t, func(request string) string {
		if strings.Contains(request, "Sec-WebSocket-Key") {
			return gatewaytest.Switching
		}
		return gatewaytest.OK
	})
	yaml = strings.ReplaceAll(yaml, "ORIGIN", origin.URL())
	return gatewaytest.RunOptions(t, yaml, gatewaytest.Options{Identity: w.identity()}), origin
}

// outcome is a response's status with the code of its fault and its challenge.
func outcome(response string) string {
	head, body, _ := strings.Cut(response, "\r\n\r\n")
	out := strings.Fields(head)[1]
	if _, rest, found := strings.Cut(body, `"code":"`); found {
		code, _, _ := strings.Cut(rest, `"`)
		out += " " + code
	}
	for line := range strings.SplitSeq(head, "\r\n") {
		if name, value, _ := strings.Cut(line, ": "); strings.EqualFold(name, "WWW-Authenticate") {
			out += " " + value
		}
	}
	return out
}

// told is what an origin was told of the caller in its last request: all fields that
// say so, and those that would be credentials, in the order they came.
func told(o *gatewaytest.Origin) string {
	requests := o.Requests()
	if len(requests) == 0 {
		return "nothing"
	}
	var fields []string
	head, _, _ := strings.Cut(requests[len(requests)-1], "\r\n\r\n")
	for i, line := range strings.Split(head, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		name = strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
		switch {
		case i == 0:
			fields = append(fields, line)
		case strings.HasPrefix(name, "x-gateway-"),
			slices.Contains([]string{"x-user-id", "x-client-id", "x-scopes", "authorization", "x-api-key", "x-client-fingerprint", "x-evil"}, name):
			fields = append(fields, line)
		}
	}
	return strings.Join(fields, "|")
}
