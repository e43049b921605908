// Package account holds users, their passwords, second factors and sessions
// (SPEC ID4–ID6, SECURITY I8, I11–I13).
package account
