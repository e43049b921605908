// Package token issues and verifies the tokens of RFC 7519 and RFC 9068 that say
// who calls: strictly (SECURITY I3), from our own signing keys (I17) and from
// those of foreign issuers (I1, I2), and for nothing once a token is known (I9).
// Whether a session was revoked since is core/revocation's to say.
//
// # Keys
//
// Keys are the signing keys of all gateways that share a KeyStore. Each purpose has
// its own: access tokens, whose public keys are published; refresh tokens; and the
// internal tokens that services behind the gateway get. rotation.go says when a key
// is made, signs and is forgotten; it knows no store and no cryptography. A Signer
// issues tokens with them.
//
// # The way of a token
//
// Verifier.Access asks the cache first. A token that is not known is taken apart
// (split.go) and its JSON decoded by a decoder of our own (decode.go); iss chooses
// the issuer, the issuer and kid the key, and the key, never the header, how the
// signature is verified. Then its claims are read (claims.go, foreign.go), its dates
// looked at, and it is put into the cache. A hit looks at the dates and at whether
// the key was withdrawn; failures are never cached.
//
// The key set of a foreign issuer is fetched by Verifier.Run (keyset.go, fetch.go),
// never by a request: a kid that is not known is refused at once.
package token
