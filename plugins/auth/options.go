package auth

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/setting"
)

// options are the options of auth.
type options struct {
	Required bool    `yaml:"required" default:"true" doc:"false: who shows no credential may come in as nobody; a bad one is refused all the same."`
	Accept   accepts `yaml:"accept" doc:"Credentials that are taken: jwt, api_key, mtls, ticket; an inner list wants all of it. By default jwt and api_key."`
	Scopes   scopes  `yaml:"scopes" doc:"Scopes that a caller needs; courses covers courses:read."`
	// Claims holds for each JSON pointer the values that its claim may have.
	Claims  map[string]setting.StringList `yaml:"claims" doc:"What a token must say of its caller: JSON pointers into its claims, each with the values that will do."`
	Bound   bool                          `yaml:"bound" default:"false" doc:"Take only tokens that are bound to a fingerprint or to a client certificate."`
	Strict  bool                          `yaml:"strict" default:"false" doc:"Answer 503 to tokens while revocations are known to be older than 5 s."`
	Issuers setting.StringList            `yaml:"issuers" doc:"Whose tokens are taken: names of identity.issuers, and own for this gateway's; by default all."`

	ForwardCredentials bool `yaml:"forward_credentials" default:"false" doc:"Let the service see Authorization and X-API-Key."`
	InternalToken      bool `yaml:"internal_token" default:"false" doc:"Tell the service who calls in X-Gateway-Token, a signed token of a minute, in place of X-User-ID, X-Client-ID and X-Scopes."`
}

// scopes are what a caller needs.
type scopes struct {
	All setting.StringList `yaml:"all" doc:"Scopes that must all be held."`
	Any setting.StringList `yaml:"any" doc:"Scopes of which one must be held."`
}

// kinds are the words for credentials, in the order in which they are shown.
var kinds = []struct {
	word       string
	credential principal.Credential
}{
	{"jwt", principal.Token}, {"api_key", principal.Key}, {"mtls", principal.Certificate}, {"ticket", principal.Ticket},
}

// accepts are the sets of credentials each of which is enough.
type accepts []principal.Credential

// byDefault is accept where it is left out.
var byDefault = accepts{principal.Token, principal.Key}

// unknown stands for a word that only the environment of the gateway knows.
const unknown principal.Credential = 1 << 7

// tokens are the kinds of credentials that come from an issuer.
const tokens = principal.Token | principal.Ticket

// union is all that some set holds.
func (a accepts) union() principal.Credential {
	var all principal.Credential
	for _, set := range a {
		all |= set
	}
	return all
}

const wantKind = "want jwt, api_key, mtls or ticket, or a list of those that are wanted together; got "

// DecodeSetting reads a list of words and of lists of words, or a comma-separated
// string.
func (a *accepts) DecodeSetting(n *setting.Node, r *setting.Report) {
	if n.Kind == setting.Map || n.IsOff() {
		r.AddNode(n, "want a list such as [jwt, api_key], got "+n.Describe(), "")
		return
	}
	*a = accepts{}
	for _, item := range n.Values() {
		switch {
		case item.Kind == setting.List:
			*a = append(*a, together(item, r))
		default:
			*a = append(*a, kindOf(item, r))
		}
	}
	if len(*a) == 0 {
		r.AddNode(n, "want at least one credential: nobody could come in", "")
	}
}

// together reads an inner list.
func together(n *setting.Node, r *setting.Report) principal.Credential {
	var set principal.Credential
	if len(n.Items) == 0 {
		r.AddNode(n, "want credentials that are wanted together, got an empty list: it would let everybody in", "")
	}
	for _, item := range n.Items {
		kind := kindOf(item, r)
		if set&kind&^unknown != 0 {
			r.AddNode(item, item.Text+" is listed twice", "")
		}
		set |= kind
	}
	return set
}

// kindOf reads one word; what is none of them is reported.
func kindOf(n *setting.Node, r *setting.Report) principal.Credential {
	if n.Unset {
		return unknown
	}
	if n.Kind == setting.Scalar {
		for _, k := range kinds {
			if n.Text == k.word {
				return k.credential
			}
		}
	}
	near := ""
	if n.Kind == setting.Scalar && !n.Expanded {
		var words []string
		for _, k := range kinds {
			words = append(words, k.word)
		}
		near = setting.Nearest(n.Text, words)
	}
	r.AddNode(n, wantKind+n.Describe(), near)
	return 0
}

// JSONSchema describes the form of accept.
func (accepts) JSONSchema() map[string]any {
	var words []any
	for _, k := range kinds {
		words = append(words, k.word)
	}
	word := map[string]any{"enum": words}
	together := map[string]any{"type": "array", "items": word, "minItems": 1, "uniqueItems": true}
	return map[string]any{"anyOf": []any{
		map[string]any{"type": "array", "minItems": 1, "items": map[string]any{"anyOf": []any{word, together}}},
		map[string]any{"type": "string", "minLength": 1},
	}}
}

// own is how this gateway itself is called among issuers.
const own = "own"

// check reports what the types alone can't say.
func check(o options, r *setting.Report) {
	accept := o.Accept
	if accept == nil {
		accept = byDefault
	}
	for i, set := range accept {
		if set&unknown == 0 && slices.Contains(accept[:i], set) {
			r.AddField(fmt.Sprintf("accept[%d]", i), "it is listed twice", "")
		}
	}
	checkScopes(o.Scopes, accept, r)
	for pointer, values := range o.Claims {
		if _, err := principal.ParseClaim(pointer, values); err != nil {
			r.AddField("claims", "want JSON pointers such as /plan or /realm_access/roles, got "+strconv.Quote(pointer)+": "+err.Error(), "")
		}
		if len(values) == 0 {
			r.AddField("claims", "want values that will do for "+pointer, "")
		}
	}
	for i, name := range o.Issuers {
		if slices.Contains(o.Issuers[:i], name) {
			r.AddField(fmt.Sprintf("issuers[%d]", i), name+" is listed twice", "")
		}
	}
	if accept.union()&(tokens|unknown) == 0 {
		for key, set := range map[string]bool{"claims": len(o.Claims) > 0, "bound": o.Bound, "strict": o.Strict, "issuers": len(o.Issuers) > 0} {
			if set {
				r.AddField(key, "only tokens have that, and accept takes none", "")
			}
		}
	}
}

// checkScopes wants words that are scopes, and somebody who could hold them.
func checkScopes(s scopes, accept accepts, r *setting.Report) {
	for field, list := range map[string]setting.StringList{"all": s.All, "any": s.Any} {
		for i, scope := range list {
			at := fmt.Sprintf("scopes.%s[%d]", field, i)
			if err := principal.CheckScope(scope); err != nil {
				r.AddField(at, "want a scope such as courses or courses:read: "+err.Error(), "")
			}
			if slices.Contains(list[:i], scope) {
				r.AddField(at, strconv.Quote(scope)+" is listed twice", "")
			}
		}
	}
	if len(s.All)+len(s.Any) > 0 && slices.Contains(accept, principal.Certificate) {
		r.WarnField("accept", "a certificate alone holds no scopes: who shows nothing else is refused with 403", "")
	}
}
