package config

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/setting"
)

// identity checks what is said of who may call. No message shows a secret.
func (c *checker) identity() {
	i := c.cfg.Identity
	if i == nil || i.Node.Kind != setting.Map {
		return
	}
	c.signingKeys(&i.SigningKeys)
	c.web(i.Web)
	c.throttle(i)
	if n := given(i.Node, "fingerprint_header"); n != nil && !isFieldName(i.FingerprintHeader) {
		c.r.AddNode(n, "want the name of a header field, of letters, digits and hyphens, got "+n.Describe(), "")
	}
	if i.AccessToken > i.Session.Lifetime || i.RefreshToken > i.Session.Lifetime {
		c.r.AddNode(i.Node.Get("session"), "want a lifetime of at least access_token and refresh_token: no token outlives its session", "")
	}
	for _, f := range i.Issuers {
		c.issuer(f)
	}
	c.fileAccounts(i)
}

// signingKeys decodes the key that seals what is stored.
func (c *checker) signingKeys(s *SigningKeys) {
	if s.EncryptionKey.IsZero() {
		at := c.cfg.Identity.Node
		if s.Node != nil && s.Node.Kind == setting.Map {
			at = s.Node
		}
		if c.cfg.Stores != nil && c.cfg.Stores.Postgres != nil && (s.Node == nil || missing(s.Node, "encryption_key") && missing(s.Node, "encryption_key_file")) {
			c.r.AddNode(at, "want signing_keys.encryption_key_file, such as `openssl rand -base64 32` makes: with stores.postgres the keys that sign tokens are stored sealed", "")
		}
		return
	}
	text := strings.TrimSpace(s.EncryptionKey.Reveal())
	for _, decode := range []func(string) ([]byte, error){hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawURLEncoding.DecodeString} {
		if key, err := decode(text); err == nil && len(key) == sealingKey {
			s.Key = key
			return
		}
	}
	c.r.AddNode(written(s.Node, "encryption_key"), "want 32 bytes in base64 or hex, such as `openssl rand -base64 32` makes", "")
}

// throttle wants of refused what a policy may have: it is counted as one.
func (c *checker) throttle(i *Identity) {
	n, r := given(i.Node.Get("throttle"), "refused"), i.Throttle.Refused
	if n == nil || r.Count == 0 {
		return // the default, or reported
	}
	if fault, near := rateFault(r); fault != "" {
		c.r.AddNode(n, fault+", got "+n.Describe(), near)
		return
	}
	counted := limit.Policy{Algorithm: limit.TokenBucket, Count: r.Count, Per: r.Per, Burst: r.Count}
	if err := counted.Validate(); err != nil {
		c.r.AddNode(n, err.Error(), "")
	}
}

// sealingKey is the length of a key of AES-256, in bytes.
const sealingKey = 32

// secureCookie begins the names of cookies that browsers send over TLS only (RFC 6265bis).
const secureCookie = "__Secure-"

func (c *checker) web(w *Web) {
	if w == nil || w.Node.Kind != setting.Map {
		return
	}
	if n := given(w.Node, "cookie"); n != nil && (!strings.HasPrefix(w.Cookie, secureCookie) || !isFieldName(strings.ReplaceAll(w.Cookie, "_", "-"))) {
		c.r.AddNode(n, "want a name that begins with "+secureCookie+", got "+n.Describe()+": browsers then keep it off plain connections", "")
	}
	if missing(w.Node, "origins") || emptyList(w.Node.Get("origins")) {
		c.r.AddNode(w.Node, "want the origins of the pages that log in, such as origins: [https://app.example.com]", "")
	}
	for i, origin := range w.Origins {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin || u.Scheme != "https" && !loopbackName(u.Hostname()) {
			n := w.Node.Get("origins").Values()[i]
			c.r.AddNode(n, "want an origin such as https://app.example.com, got "+n.Describe(), "")
		}
	}
}

// issuer wants a foreign issuer to be bounded: who it speaks for, and what it may
// give (SECURITY I1, I2).
func (c *checker) issuer(f *Issuer) {
	if f.Node.Kind != setting.Map {
		return
	}
	var lacks []string
	for _, w := range [][2]string{
		{"issuer", "https://idp.example.com/"}, {"jwks_url", "https://idp.example.com/jwks.json"},
		{"audiences", "[" + c.cfg.Identity.Audience + "]"}, {"user_prefix", `"` + f.Name + `:"`},
	} {
		if missing(f.Node, w[0]) || emptyList(f.Node.Get(w[0])) {
			lacks = append(lacks, w[0]+": "+w[1])
		}
	}
	if len(lacks) > 0 {
		c.r.AddNode(f.Node, "want also "+strings.Join(lacks, ", "), "")
	}
	if n := given(f.Node, "jwks_url"); n != nil {
		u, err := url.Parse(f.JWKSURL)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !loopbackName(u.Hostname())) {
			c.r.AddNode(n, "want an https:// URL, or http:// on this machine, got "+n.Describe(), "")
		}
	}
	if n := given(f.Node, "issuer"); n != nil && f.Issuer == c.cfg.Identity.Issuer {
		c.r.AddNode(n, "want another issuer than identity.issuer, which is the gateway itself", "")
	}
	for _, other := range c.cfg.Identity.Issuers {
		if other != f && other.Issuer == f.Issuer && f.Issuer != "" && other.Name < f.Name {
			c.r.In(f.Node).AddField("issuer", "issuer "+other.Name+" has the same: nobody could tell whose keys count", "")
		}
	}
	c.scopes(f.Node, "grants", f.Grants)
	if n := given(f.Node, "grants"); n != nil && slices.Contains(f.Grants, principal.Every) {
		c.r.AddNode(n, `want the scopes by name: only the gateway itself grants "*"`, "")
	}
}

// scopes reports what is no scope under key of n.
func (c *checker) scopes(n *setting.Node, key string, list []string) {
	for i, s := range list {
		if err := principal.CheckScope(s); s != "" && err != nil {
			c.r.AddNode(n.Get(key).Values()[i], err.Error(), "")
		}
	}
}

// fileAccounts checks the users, clients and keys of the file, which are those of a
// machine without PostgreSQL: where both had some, it would be chance who counts.
func (c *checker) fileAccounts(i *Identity) {
	stored := c.cfg.Stores != nil && c.cfg.Stores.Postgres != nil
	for _, key := range []string{"users", "clients", "api_keys"} {
		if n := given(i.Node, key); n != nil && stored && len(n.Entries) > 0 {
			c.r.AddNode(n, "want no "+key+" beside stores.postgres, which keeps them: gateway user, client and apikey change them there", "")
		}
	}
	clients := keys(i.Node.Get("clients"))
	for _, u := range i.Users {
		c.user(u)
	}
	for _, client := range i.Clients {
		if client.Node.Kind != setting.Map {
			continue
		}
		c.scopes(client.Node, "scopes", client.Scopes)
		c.policyName(client.Node)
		if n := written(client.Node, "secret_hash"); n != client.Node && !client.SecretHash.IsZero() && !isPasswordHash(client.SecretHash.Reveal()) {
			c.r.AddNode(n, "want what `gateway hash secret` prints", "")
		}
	}
	for _, k := range i.APIKeys {
		c.apiKey(k, clients)
	}
}

func (c *checker) user(u *User) {
	if u.Node.Kind != setting.Map {
		return
	}
	if at := strings.LastIndexByte(u.Email, '@'); at <= 0 || at == len(u.Email)-1 || len(u.Email) > 255 || strings.ToLower(u.Email) != u.Email {
		c.r.Add(u.At, u.Node.Path, "want an e-mail address in lower case", "")
	}
	c.scopes(u.Node, "scopes", u.Scopes)
	switch n := written(u.Node, "password_hash"); {
	case missing(u.Node, "password_hash") && missing(u.Node, "password_hash_file"):
		c.r.AddNode(u.Node, "want a password_hash, as `gateway hash password` prints it", "")
	case !u.PasswordHash.IsZero() && !isPasswordHash(u.PasswordHash.Reveal()):
		c.r.AddNode(n, "want what `gateway hash password` prints; a password itself has no place here", "")
	}
}

// isPasswordHash says that s has the form of argon2id in PHC strings, or of bcrypt.
func isPasswordHash(s string) bool {
	return strings.HasPrefix(s, "$argon2id$") || len(s) == 60 && strings.HasPrefix(s, "$2")
}

func (c *checker) apiKey(k *APIKey, clients []string) {
	if k.Node.Kind != setting.Map {
		return
	}
	c.scopes(k.Node, "scopes", k.Scopes)
	c.policyName(k.Node)
	if len(k.ID) != 16 || strings.ContainsFunc(k.ID, func(r rune) bool { return !isAlphanumeric(r) }) {
		c.r.Add(k.At, k.Node.Path, "want an id of 16 letters and digits, as `gateway hash key` makes it", "")
	}
	if missing(k.Node, "hash") && missing(k.Node, "hash_file") {
		c.r.AddNode(k.Node, "want a hash, as `gateway hash key` prints it", "")
	} else if !k.Hash.IsZero() {
		if sum, isHash := strings.CutPrefix(k.Hash.Reveal(), "sha256:"); !isHash || len(sum) != 64 {
			c.r.AddNode(written(k.Node, "hash"), "want what `gateway hash key` prints; a key itself has no place here", "")
		}
	}
	if n := given(k.Node, "client"); n == nil && missing(k.Node, "client") {
		c.r.AddNode(k.Node, "want the client that owns it", "")
	} else if n != nil && !slices.Contains(clients, k.Client) {
		c.r.AddNode(n, "there is no client "+n.Describe(), setting.Nearest(k.Client, clients))
	}
	if n := given(k.Node, "expires"); n != nil {
		at, err := time.Parse(time.RFC3339, k.Expires)
		if err != nil {
			at, err = time.Parse(time.DateOnly, k.Expires)
		}
		if err != nil {
			c.r.AddNode(n, "want a day such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z, got "+n.Describe(), "")
			return
		}
		k.ExpiresAt = at.Unix()
		if at.Before(c.o.Now()) {
			c.r.WarnNode(n, "the key has expired", "")
		}
	}
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// isFieldName says that s is the name of a header field that passes (SECURITY C3).
func isFieldName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !isAlphanumeric(r) && r != '-' })
}
