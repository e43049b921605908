package token

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/principal"
)

// Foreign is an issuer whose access tokens are accepted beside our own (SECURITY
// I1, I2).
type Foreign struct {
	Name       string // in the configuration
	Issuer     string // exactly as in iss
	KeySetURL  string
	Audiences  []string         // one of them must be in aud; never empty
	Algorithms []string         // of Algorithms; empty: RS256
	Types      []string         // that typ may be; empty: at+jwt
	Claims     ClaimNames       // where the token says what
	UserPrefix string           // before the user's and the client's id; never empty
	Grants     principal.Scopes // the most that its tokens may do; never "*"
	Private    bool             // the key set may be on this machine or a private network
	Roots      *x509.CertPool   // who vouches for the key set's server; nil: whom the system trusts
}

// ClaimNames say which claims are read. Each is the name of a claim, or a JSON
// pointer into the claims (RFC 6901) that begins with "/".
type ClaimNames struct {
	User   string // empty: sub
	Client string // empty: client_id, or azp without it
	Scopes string // empty: scope, or scp without it
}

// issuer is a foreign issuer, ready to be asked.
type issuer struct {
	Foreign
	name                       string
	types                      []string
	userAt, clientAt, scopesAt [][]string // JSON pointers, taken apart; the first that finds something counts
	set                        *keySet
}

// newIssuer checks a foreign issuer. Errors say what to change.
func newIssuer(f Foreign, c clock.Clock, log zerolog.Logger) (*issuer, error) {
	switch {
	case f.Issuer == "" || f.Name == "":
		return nil, errors.New("it needs a name and the issuer as in iss")
	case len(f.Audiences) == 0 || slices.Contains(f.Audiences, ""):
		return nil, errors.New("it needs an audience")
	case !isWord(f.UserPrefix):
		return nil, errors.New("it needs a prefix for its users, of visible ASCII")
	case f.Grants.Covers(principal.Every):
		return nil, errors.New(`it can't grant "*"`)
	}
	if len(f.Algorithms) == 0 {
		f.Algorithms = []string{"RS256"}
	}
	for _, a := range f.Algorithms {
		if !slices.Contains(Algorithms(), a) {
			return nil, fmt.Errorf("algorithm %q is none of %s", a, strings.Join(Algorithms(), ", "))
		}
	}
	i := &issuer{Foreign: f, name: f.Name, types: f.Types}
	if len(i.types) == 0 {
		i.types = []string{typAccess}
	}
	var err error
	for _, claim := range []struct {
		into         *[][]string
		name         string
		first, other string
	}{
		{&i.userAt, f.Claims.User, "sub", "sub"},
		{&i.clientAt, f.Claims.Client, "client_id", "azp"},
		{&i.scopesAt, f.Claims.Scopes, "scope", "scp"},
	} {
		if *claim.into, err = claimPath(claim.name, claim.first, claim.other); err != nil {
			return nil, err
		}
	}
	i.set, err = newKeySet(f, c, log)
	return i, err
}

// claimPath takes the name of a claim apart, or those that stand for none.
func claimPath(name, first, other string) ([][]string, error) {
	if name == "" {
		return [][]string{{first}, {other}}, nil
	}
	if name[0] != '/' {
		return [][]string{{name}}, nil
	}
	var path []string
	for _, step := range strings.Split(name[1:], "/") {
		if rest := strings.NewReplacer("~0", "", "~1", "").Replace(step); strings.Contains(rest, "~") {
			return nil, fmt.Errorf("claim %q is no JSON pointer: ~ stands before 0 or 1", name)
		}
		path = append(path, strings.NewReplacer("~1", "/", "~0", "~").Replace(step))
	}
	return [][]string{path}, nil
}

// find returns what one of paths leads to.
func find(all map[string]any, paths [][]string) any {
	for _, path := range paths {
		var v any = all
		for _, step := range path {
			switch in := v.(type) {
			case map[string]any:
				v = in[step]
			case []any:
				n, err := strconv.Atoi(step)
				if err != nil || n < 0 || n >= len(in) || strconv.Itoa(n) != step {
					v = nil
				} else {
					v = in[n]
				}
			default:
				v = nil
			}
		}
		if v != nil {
			return v
		}
	}
	return nil
}

// key chooses among the issuer's keys.
func (i *issuer) key(kid, algorithm string) (*verificationKey, error) {
	if !slices.Contains(i.Algorithms, algorithm) {
		return nil, refused("its alg is none of its issuer's")
	}
	return i.set.key(kid)
}

// read reads the claims of a token of this issuer. Its users and clients are put
// under its prefix, so that it can name none of ours nor another issuer's, and its
// scopes are cut to what it may grant (SECURITY I1).
func (i *issuer) read(all map[string]any, kid string) (*Verified, error) {
	c := claims{all: all}
	c.audience(i.Audiences)
	user, _ := find(all, i.userAt).(string)
	client, named := find(all, i.clientAt).(string)
	if !named {
		client = i.name
	}
	v := &Verified{
		ID: c.optional("jti"), KeyID: kid, Claims: all,
		IssuedAt: c.date("iat", true), NotBefore: c.date("nbf", false), Expires: c.date("exp", true),
		Thumbprint: c.confirmation(),
		Principal: principal.Principal{
			User: c.prefixed("its user", i.UserPrefix, user), Client: c.prefixed("its client", i.UserPrefix, client),
			Issuer: i.name, Scopes: i.granted(&c), Shown: principal.Token,
		},
	}
	for _, kind := range []string{"jti", "sid"} {
		if value := c.optional(kind); value != "" {
			v.Foreign = append(v.Foreign, foreignKey(i.Issuer, kind, value))
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return v, nil
}

// prefixed puts an id under the issuer's prefix.
func (c *claims) prefixed(what, prefix, id string) string {
	c.checked(what, id)
	return c.checked(what, prefix+id)
}

// granted returns the scopes of the token that its issuer may grant. Roles of other
// systems may be called anything printable: what can't be a scope grants nothing.
func (i *issuer) granted(c *claims) principal.Scopes {
	var list []string
	for _, s := range c.scopes(find(c.all, i.scopesAt)) {
		if len(s) > principal.MaxScope || strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) >= 0 {
			c.refuse("a scope of it is longer than 255 bytes, or not printable ASCII")
			break
		}
		if s != principal.Every && principal.CheckScope(s) == nil {
			list = append(list, s)
		}
	}
	scopes, err := principal.NewScopes(list)
	if err != nil {
		c.refuse("a scope of it is none")
	}
	return scopes.Intersect(i.Grants)
}

// foreignKey is under what a token or session of a foreign issuer is revoked:
// core/revocation computes the same (SECURITY I5).
func foreignKey(issuer, kind, value string) string {
	sum := sha256.Sum256([]byte(issuer + "\x00" + kind + "\x00" + value))
	return "ext:" + base64.RawURLEncoding.EncodeToString(sum[:])
}
