// Package revocation knows which sessions and users must be refused although
// their tokens are good. It keeps a mirror of all revocations in force, fed by
// stores and never forgetting before the time of an entry has come (SECURITY
// I4–I6), so that every request can ask it for nothing.
package revocation
