// Package account knows the people who can log in: their e-mail, password, second
// factor, and how often somebody tried (SPEC ID4, ID6, SECURITY I11–I13). Sessions
// and tokens are the business of others.
//
// A login passes here in two halves. Authenticate counts the attempt (throttle.go),
// then compares the password in a bounded pool (pool.go, passwords.go), and answers
// the same, after the same time, whether the user is unknown, disabled or the
// password wrong. If the user has a second factor, SecondFactor counts again, with
// counters of its own, and takes a code of the user's app or a recovery code, each
// once (factor.go). Only who passes both has earlier attempts forgotten.
//
// Users are kept by a Store: a Memory, filled from the configuration and never
// changed, or PostgreSQL. Attempts are kept by a Throttle: MemoryThrottle, or Redis,
// which all instances share. The suites of accounttest hold them to one behaviour.
package account
