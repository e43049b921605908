// Package principal says who calls: a user, a client, with the scopes that the
// call may use. It is a word that all layers share and knows nothing of tokens,
// keys or stores.
package principal

// Credential is a kind of proof of who calls; a set of kinds is their union.
type Credential uint8

// The kinds of credentials.
const (
	Token       Credential = 1 << iota // an access token (RFC 9068)
	Key                                // an API key
	Certificate                        // a TLS client certificate that the listener verified
	Ticket                             // a single-use ticket, for what can't set headers
)

// Principal is who calls. It is immutable once an exchange carries it, and may be
// shared by any number of exchanges: nothing of it is ever written again.
type Principal struct {
	User    string // user id; empty for a client that acts for itself
	Client  string // client id; empty only for a certificate that names no client
	Session string // session id; empty unless a token of our own was shown
	Key     string // id of the API key; empty unless one was shown
	Issuer  string // name of the foreign issuer in the configuration; empty: our own
	Policy  string // rate-limit policy that the key or the client carries; may be empty
	Scopes  Scopes
	Shown   Credential // every kind that was shown, and was good
}

// Covers says whether the principal may do what needs scope; false without a principal.
func (p *Principal) Covers(scope string) bool { return p != nil && p.Scopes.Covers(scope) }
