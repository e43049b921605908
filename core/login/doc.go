// Package login answers /auth/* and /.well-known/jwks.json: the HTTP of
// core/account and core/token (SPEC ID4–ID8, ID10, SECURITY I20).
package login
