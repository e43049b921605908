// Package token issues and verifies the tokens of RFC 7519 and RFC 9068 that say
// who calls: strictly (SECURITY I3), from our own signing keys (I17) and from
// those of foreign issuers (I1, I2), and for nothing once a token is known (I9).
// Whether a session was revoked since is core/revocation's to say.
package token
