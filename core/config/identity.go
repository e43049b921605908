package config

import (
	"github.com/suuupra/gateway/core/setting"
)

// Identity says who may call, and how they prove it.
type Identity struct {
	At                setting.Position `yaml:"@at"`
	Node              *setting.Node    `yaml:"@node"`
	Issuer            string           `yaml:"issuer" default:"gateway" doc:"Who issues the gateway's own tokens (iss): the URL of the platform, usually."`
	Audience          string           `yaml:"audience" default:"gateway" doc:"For whom access tokens are (aud)."`
	AccessToken       setting.Duration `yaml:"access_token" default:"15m" min:"10s" max:"24h" doc:"Life of an access token."`
	RefreshToken      setting.Duration `yaml:"refresh_token" default:"168h" min:"1m" max:"8760h" doc:"Life of a refresh token; each is good for one refresh."`
	RefreshGrace      setting.Duration `yaml:"refresh_grace" default:"60s" max:"10m" doc:"How long a refresh that is repeated gets the same answer."`
	Session           SessionRules     `yaml:"session" doc:"How long a login lasts, and how many a user may have."`
	Leeway            setting.Duration `yaml:"leeway" default:"5s" max:"5m" doc:"How far the clocks of issuers may be off."`
	FingerprintHeader string           `yaml:"fingerprint_header" default:"X-Client-Fingerprint" off:"true" doc:"Field whose value tokens are bound to if it stands in a login; off for none."`
	Passwords         Passwords        `yaml:"passwords" doc:"What passwords may be."`
	SigningKeys       SigningKeys      `yaml:"signing_keys" doc:"The keys that sign tokens."`
	Revocation        Revocation       `yaml:"revocation" doc:"What is done while revocations can't be learnt."`
	Throttle          Throttle         `yaml:"throttle" doc:"How often somebody may try."`
	Web               *Web             `yaml:"web" doc:"Refresh tokens as a cookie for browsers; off by default."`
	Issuers           []*Issuer        `yaml:"issuers,named" doc:"Others whose access tokens are accepted."`
	UsageRetention    setting.Duration `yaml:"usage_retention" default:"2160h" min:"24h" max:"87600h" doc:"How long the usage of API keys is kept, by route and hour."`
	Users             []*User          `yaml:"users,named" names:"any" doc:"Users by e-mail, for a machine without PostgreSQL; gateway hash makes the hashes."`
	Clients           []*Client        `yaml:"clients,named" doc:"Clients by id, for a machine without PostgreSQL."`
	APIKeys           []*APIKey        `yaml:"api_keys,named" doc:"API keys by id, for a machine without PostgreSQL; gateway hash key makes them."`
}

// withoutDeclared is i without what a reload puts in force.
func (i *Identity) withoutDeclared() *Identity {
	if i == nil {
		return nil
	}
	copied := *i
	copied.Users, copied.Clients, copied.APIKeys = nil, nil, nil
	return &copied
}

// SessionRules bound logins.
type SessionRules struct {
	Lifetime setting.Duration `yaml:"lifetime" default:"2160h" min:"1m" max:"87600h" doc:"The longest that a login lasts, however often it is refreshed."`
	PerUser  int              `yaml:"per_user" default:"50" min:"1" max:"10000" doc:"Sessions of one user; a further login ends the oldest."`
}

// Passwords says what passwords may be.
type Passwords struct {
	Breached setting.Content `yaml:"breached" doc:"Passwords that everybody knows, one a line, in clear or as SHA-1 in hex: they are refused at creation. Use breached_file."`
}

// SigningKeys says how the keys that sign tokens change.
type SigningKeys struct {
	Node          *setting.Node    `yaml:"@node"`
	RotateEvery   setting.Duration `yaml:"rotate_every" default:"720h" min:"1h" max:"87600h" doc:"Age at which another key signs."`
	PublishAhead  setting.Duration `yaml:"publish_ahead" default:"24h" min:"1m" max:"720h" doc:"How long a key is published before it signs."`
	EncryptionKey setting.Secret   `yaml:"encryption_key" doc:"32 random bytes, in base64 or hex, that seal what is stored; needed with PostgreSQL. Use encryption_key_file."`

	// Key is EncryptionKey, decoded; nil: none.
	Key []byte `yaml:"-"`
}

// Revocation says what is done while revocations can't be learnt (SECURITY I6).
type Revocation struct {
	OnStoreError string           `yaml:"on_store_error" default:"allow" enum:"allow|deny" doc:"What happens to tokens while no store answers."`
	StaleLimit   setting.Duration `yaml:"stale_limit" default:"15m" min:"1s" max:"24h" doc:"For how long allow holds; tokens are refused after that."`
	ColdStart    string           `yaml:"cold_start" default:"deny" enum:"allow|deny" doc:"What happens to tokens after a start that found no store."`
}

// Throttle says how often somebody may try.
type Throttle struct {
	PerAccount setting.Rate `yaml:"per_account" default:"10/15m" doc:"Logins to one account, from one network."`
	PerIP      setting.Rate `yaml:"per_ip" default:"100/15m" doc:"Logins from one network, whatever the account."`
	Refused    setting.Rate `yaml:"refused" default:"100/1m" doc:"Refused credentials of one address; further ones are not looked at."`
}

// Web is how browsers keep a refresh token.
type Web struct {
	At      setting.Position   `yaml:"@at"`
	Node    *setting.Node      `yaml:"@node"`
	Cookie  string             `yaml:"cookie" default:"__Secure-refresh" doc:"Name of the cookie; begins with __Secure-."`
	Origins setting.StringList `yaml:"origins" doc:"Origins whose pages may use it, such as https://app.example.com."`
}

// Issuer is somebody else whose access tokens are accepted.
type Issuer struct {
	Name       string             `yaml:"@key"`
	At         setting.Position   `yaml:"@at"`
	Node       *setting.Node      `yaml:"@node"`
	Issuer     string             `yaml:"issuer" doc:"Exact value of iss in its tokens."`
	JWKSURL    string             `yaml:"jwks_url" doc:"Where its keys are; https, or http on this machine."`
	Audiences  setting.StringList `yaml:"audiences" doc:"Values of aud of which a token must have one."`
	Algorithms setting.StringList `yaml:"algorithms" default:"RS256" enum:"RS256|RS384|RS512|PS256|PS384|PS512|ES256|ES384|ES512|EdDSA" doc:"Algorithms that its keys may sign with."`
	Types      setting.StringList `yaml:"types" default:"at+jwt" doc:"Values of typ that its access tokens have."`
	Claims     ClaimNames         `yaml:"claims" doc:"Where its tokens say who calls."`
	UserPrefix string             `yaml:"user_prefix" doc:"Stands before its users' ids, so that none of them is one of ours."`
	Grants     setting.StringList `yaml:"grants" doc:"The only scopes that its tokens can give; none by default."`
	Private    bool               `yaml:"private" default:"false" doc:"Its keys may be at a private address."`
}

// ClaimNames says where a token says who calls: a name, or a JSON pointer.
type ClaimNames struct {
	User   string `yaml:"user" doc:"The user's id; sub by default."`
	Scopes string `yaml:"scopes" doc:"The scopes, as an array or separated by spaces; scope, or else scp, by default."`
	Client string `yaml:"client" doc:"The client's id; client_id, or else azp, by default."`
}

// User is a user of the file.
type User struct {
	Email        string             `yaml:"@key"`
	At           setting.Position   `yaml:"@at"`
	Node         *setting.Node      `yaml:"@node"`
	PasswordHash setting.Secret     `yaml:"password_hash" doc:"What gateway hash password prints: argon2id, or bcrypt."`
	Scopes       setting.StringList `yaml:"scopes" doc:"What the user may do."`
	TOTP         setting.Secret     `yaml:"totp" doc:"Secret of the second factor in base32; use totp_file."`
	Active       bool               `yaml:"active" default:"true" doc:"Whether the user may log in."`
}

// Client is an application of the file.
type Client struct {
	ID         string             `yaml:"@key"`
	At         setting.Position   `yaml:"@at"`
	Node       *setting.Node      `yaml:"@node"`
	Name       string             `yaml:"name" doc:"What people call it."`
	SecretHash setting.Secret     `yaml:"secret_hash" doc:"What gateway hash secret prints; none for a client that can't keep a secret."`
	Scopes     setting.StringList `yaml:"scopes" doc:"What the client may do at most, its API keys included."`
	Policy     string             `yaml:"policy" doc:"Rate-limit policy of the client."`
	Active     bool               `yaml:"active" default:"true" doc:"Whether the client and its keys are good."`
}

// APIKey is an API key of the file.
type APIKey struct {
	ID        string             `yaml:"@key"`
	At        setting.Position   `yaml:"@at"`
	Node      *setting.Node      `yaml:"@node"`
	Name      string             `yaml:"name" doc:"What people call it."`
	Hash      setting.Secret     `yaml:"hash" doc:"What gateway hash key prints: SHA-256 of id and secret, in hex."`
	Client    string             `yaml:"client" doc:"Id of the client that owns it."`
	User      string             `yaml:"user" doc:"Id of the user for whom it acts, if any."`
	Scopes    setting.StringList `yaml:"scopes" doc:"What the key may do, within what its client may."`
	Policy    string             `yaml:"policy" doc:"Rate-limit policy of the key, in place of its client's."`
	Expires   string             `yaml:"expires" doc:"When it ends, such as 2027-01-31 or 2027-01-31T12:00:00Z; never by default."`
	AllowFrom []setting.CIDR     `yaml:"allow_from" doc:"Networks that it may be used from; all by default."`
	Active    bool               `yaml:"active" default:"true" doc:"Whether the key is good."`

	// ExpiresAt is Expires in unix seconds; 0: never.
	ExpiresAt int64 `yaml:"-"`
}
