// Package revocation knows which sessions and users must be refused although
// their tokens are good. It keeps a mirror of all revocations in force, fed by
// stores and never forgetting before the time of an entry has come (SECURITY
// I4–I6), so that every request can ask it for nothing.
//
// # A revocation's way
//
//  1. [Mirror.Revoke] merges it into the mirror of its own instance: from here on
//     it is refused there, whatever happens.
//  2. It is saved in the [Durable] store, which alone says whether the caller may believe in
//     it, and told to the [Push] store, at the same time.
//  3. Every other instance hears of it by push in milliseconds, or from the durable
//     store: by its notification, or by the poll a second later at the latest.
//  4. [Mirror.Notify]'s functions are called, [Stays] closes what the caller has open.
//  5. It goes when its own Expires has come, and for no other reason.
//
// # What can go wrong
//
// A store that is away is asked again and again. One that comes back is read whole
// and merged; what it has lost, or never had, is written to it again (settle.go). No answer of a store
// takes anything out of the mirror.
//
// Where there is no durable store, a file in the gateway's directory takes its place
// (journal.go): it survives a restart, and is no news from anybody else.
package revocation
