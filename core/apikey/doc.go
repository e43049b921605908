// Package apikey makes, checks and counts API keys (SPEC AK1–AK4, SECURITY I18).
//
// # Format
//
// A key is 69 bytes of ASCII:
//
//	gk_<id>_<secret><checksum>
//	gk_0000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0MpZrg
//
// id is 16, secret 43 and checksum 6 characters of base 62, whose digits are
// 0–9, A–Z, a–z in this order. The id is public and stands in logs and metrics. The
// secret is drawn uniformly from 62⁴³ values, which is a little more than 256 bits.
// The checksum is the CRC-32 (IEEE 802.3, as in gzip) of the 63 bytes before it,
// "gk_<id>_<secret>", written as a number of 6 digits of base 62, the most
// significant one first, with leading zeros. So a scanner finds leaked keys by
//
//	gk_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}
//
// and tells them from chance by the checksum, with nobody to ask; and a key with a
// typing error in it is refused before any store hears of it. What is stored is the
// SHA-256 of id and secret, 59 bytes with nothing between them. A fast hash will do,
// because there is no guessing 256 random bits.
//
// # Where a key is looked for
//
// Check asks, in this order: the checksum; the cache of this process, where an
// entry is good for a minute at most; the shared tier, which all instances fill
// (Redis); the durable store (PostgreSQL). Misses of one key are one flight. Ids
// that do not exist are remembered for five seconds. If both stores are away, an
// entry is good until its last reading is as old as the stale limit; what is not
// cached is ErrUnavailable.
//
// A change is pushed by the durable store and by the shared tier, each alone being
// enough, and makes every instance look again. Records have revisions that only
// grow. An instance which hears of one leaves a tombstone with that revision in the
// shared tier, and asks the shared tier nothing about the key until it took the
// tombstone, so an older record can come back from nowhere: not from a reader
// who was slow, and not from a Redis that was away. After a push connection was
// lost, and at the start, records of the shared tier count only while the durable
// store is away, for as long as one can be in it.
//
// # Usage
//
// Used adds to counters in memory that are striped and of bounded number; Run moves
// them to the store each interval, and once more when it is stopped. A crash loses
// one interval. What a store did not take is given again: a batch has a name, so one
// that was taken in silence is not counted twice.
package apikey
